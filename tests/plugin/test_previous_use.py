"""The previous action and reward beside the user's connectors, and where they are refused."""

from typing import Any

import pytest
from gymnasium.spaces import Box
from plugin_helpers import BOTH, ENV, SMALL, Doubled, RandomEnv, elmur_ppo, ppo
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

import rllib_elmur
from rllib_elmur.plugin.previous import ConnectorBuilder, PreviousInput


@pytest.mark.parametrize("as_list", [True, False])
def test_connectors_of_the_user_come_first(as_list: bool) -> None:
    config = ppo(RandomEnv, ENV).env_runners(
        env_to_module_connector=lambda env, spaces, device: [Doubled()] if as_list else Doubled()
    )
    rllib_elmur.use_elmur(config, **SMALL, **BOTH)
    algo = config.build_algo()
    pieces = [type(piece) for piece in algo.env_runner._env_to_module.connectors]
    assert pieces[:2] == [Doubled, PreviousInput]
    for episode in algo.env_runner.sample(num_timesteps=40):
        for t in range(len(episode) + 1):
            assert (episode.get_observations(t)["observation"] >= 3).all()
    algo.stop()


def test_a_builder_with_the_former_signature_is_called_as_rllib_would() -> None:
    config = ppo(RandomEnv, ENV).env_runners(env_to_module_connector=lambda env: [Doubled()])
    rllib_elmur.use_elmur(config, **SMALL, **BOTH)
    algo = config.build_algo()
    pieces = [type(piece) for piece in algo.env_runner._env_to_module.connectors]
    assert pieces[:2] == [Doubled, PreviousInput]
    algo.stop()


def test_calling_use_elmur_again_replaces_its_connector() -> None:
    def users(env: Any, spaces: Any, device: Any) -> Any:
        return []

    config = ppo().env_runners(env_to_module_connector=users)
    rllib_elmur.use_elmur(config, previous_action=True)
    rllib_elmur.use_elmur(config, previous_reward=True)
    assert config._env_to_module_connector == ConnectorBuilder(users, False, True)
    rllib_elmur.use_elmur(config)
    assert config._env_to_module_connector is users


@pytest.mark.parametrize("part", ["previous_action", "previous_reward"])
def test_an_option_without_its_connector_is_refused_at_build(part: str) -> None:
    bare = ppo().rl_module(
        rl_module_spec=RLModuleSpec(
            module_class=rllib_elmur.ELMURTorchRLModule, model_config={part: True}
        )
    )
    replaced = elmur_ppo(**{part: True}).env_runners(
        env_to_module_connector=lambda env, spaces, device: []
    )
    for config in (bare, replaced):
        with pytest.raises(ValueError, match=f"{part}=True.*use_elmur"):
            config.build_algo()


def test_the_bare_spec_with_the_piece_among_the_users_own_trains() -> None:
    config = ppo().rl_module(
        rl_module_spec=RLModuleSpec(
            module_class=rllib_elmur.ELMURTorchRLModule, model_config=SMALL | BOTH
        )
    )
    config.env_runners(env_to_module_connector=lambda env, spaces, device: PreviousInput())
    algo = config.build_algo()
    algo.train()
    algo.stop()


def test_a_connector_that_fills_the_batch_itself_is_refused() -> None:
    config = ppo(RandomEnv, {"observation": Box(-1, 1, (4, 4, 1))}).env_runners(
        env_to_module_connector=lambda env, spaces, device: FrameStackingEnvToModule(num_frames=2)
    )
    rllib_elmur.use_elmur(config, **SMALL, **BOTH)
    algo = config.build_algo()
    with pytest.raises(ValueError, match="frame stacking"):
        algo.train()
    algo.stop()


@pytest.mark.parametrize("value", [1, "yes", None])
def test_the_options_are_bools(value: Any) -> None:
    with pytest.raises(ValueError, match=f"previous_action={value!r}: must be a bool"):
        rllib_elmur.use_elmur(ppo(), previous_action=value)
