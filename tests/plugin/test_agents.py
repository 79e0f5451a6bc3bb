"""Several agents: each has its own memory, whenever it acts, and the learner finds it."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from agent_envs import (
    TIMETABLES,
    Timetable,
    agents_batch,
    agents_ppo,
    masked_of,
    sampled,
    several,
    shake_all,
    worst_error_of_acting,
    worst_error_of_learner,
)
from plugin_helpers import BOTH, SMALL, ppo
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

import rllib_elmur
from rllib_elmur.plugin.agents.to_env import AgentsToEnv
from rllib_elmur.plugin.agents.to_module import AgentsToModules
from rllib_elmur.plugin.rllib_internals import pipelines
from rllib_elmur.plugin.train_rows import MASKED_STEPS

TOLERANCE = 1e-4


def pieces_of(algo: Any) -> list[type]:
    return [type(p) for pipeline in pipelines(algo.env_runner) for p in pipeline.connectors]


def check_agreement(config: Any, sparse: bool = True, acting: bool = True) -> tuple[Any, int]:
    """Builds, samples and compares; returns the algorithm and the steps that were masked."""
    algo = config.build_algo()
    assert (AgentsToModules in pieces_of(algo)) == sparse
    shake_all(algo)
    episodes = sampled(algo)
    n_steps = sum(episode.agent_steps() for episode in episodes)
    if acting:
        assert worst_error_of_acting(algo, episodes) < TOLERANCE
    worst, n_learned = worst_error_of_learner(algo, agents_batch(algo, episodes))
    assert worst < TOLERANCE
    assert n_learned == n_steps - masked_of(algo)
    return algo, masked_of(algo)


@pytest.mark.parametrize(
    ("table", "policies", "options"),
    [
        *((table, "shared", {}) for table in TIMETABLES),
        ("pauses", "one each", {"attention_window": 5}),
        ("enters and leaves", "one each", {}),
        ("a manager", "shared", {"max_seq_len": 1}),
    ],
    ids=str,
)
def test_agents_act_on_all_that_they_have_seen_and_the_learner_finds_the_same(
    table: str, policies: str, options: dict[str, Any], ray_is_quiet: Any
) -> None:
    algo, masked = check_agreement(agents_ppo(table, policies, **options))
    assert masked == 0
    assert AgentsToEnv in pieces_of(algo)
    for episode in algo.env_runner.sample(num_timesteps=50):
        for of_agent in episode.agent_episodes.values():
            assert Columns.STATE_OUT not in of_agent.extra_model_outputs
    algo.stop()


@pytest.mark.parametrize("table", ["a manager", "enters and leaves"])
def test_rllibs_dense_state_is_right_too_in_this_packages_env_runner(
    table: str, ray_is_quiet: Any
) -> None:
    config = agents_ppo(table).learners(learner_connector=lambda *spaces: [])
    algo, _ = check_agreement(config, sparse=False)  # RLlib alone: IndexError
    algo.stop()


@pytest.mark.parametrize("lookback", [1, 40])
def test_in_rllibs_own_env_runner_a_row_without_state_is_masked_and_a_long_lookback_mends_it(
    lookback: int, ray_is_quiet: Any
) -> None:
    config = agents_ppo("pauses").env_runners(
        env_runner_cls=None, episode_lookback_horizon=lookback
    )
    algo, masked = check_agreement(config, sparse=False)
    assert masked == 0 if lookback > 17 else masked > 0
    algo.stop()


@pytest.mark.parametrize("peer", ["MLP", "LSTM"])
def test_another_module_beside_elmur_gets_what_rllib_gives_it(peer: str, ray_is_quiet: Any) -> None:
    config = several(ppo(Timetable, {"table": "pauses"}), "one each")
    other = DefaultModelConfig(fcnet_hiddens=[16], use_lstm=peer == "LSTM", max_seq_len=8)
    specs = {
        "p": RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule),
        "q": RLModuleSpec(model_config=other),  # the agent that pauses: RLlib's LSTM is right, too
    }
    config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    algo, masked = check_agreement(rllib_elmur.use_elmur(config, **SMALL), acting=False)
    assert masked == 0
    algo.train()
    algo.stop()


class Halved(ConnectorV2):
    """A user's env-to-module piece: changes the newest observation of each agent."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes):
            halved = episode.get_observations(-1) / 2
            episode.set_observations(at_indices=-1, new_data=halved)
        return batch


class Noted(ConnectorV2):
    """A user's module-to-env piece: adds a column."""

    def __call__(self, *, batch: Any, **kwargs: Any) -> Any:
        batch["noted"] = {key: [1.0] for key in batch[Columns.ACTIONS]}
        return batch


def test_a_users_connectors_keep_their_places(ray_is_quiet: Any) -> None:
    config = agents_ppo("pauses").env_runners(
        env_to_module_connector=lambda *arguments: Halved(),
        module_to_env_connector=lambda *arguments: Noted(),
    )
    algo, masked = check_agreement(config)
    assert masked == 0
    [episode, *_] = algo.env_runner.sample(num_timesteps=50)
    assert set(episode.agent_episodes["a"].get_extra_model_outputs("noted")) == {1.0}
    assert abs(episode.agent_episodes["a"].get_observations(0)).max() <= 0.5
    algo.stop()


def test_agents_read_their_own_previous_action_and_reward(ray_is_quiet: Any) -> None:
    algo = agents_ppo("pauses", **BOTH).build_algo()
    shake_all(algo)
    episodes = sampled(algo)
    for episode in episodes:
        for of_agent in episode.agent_episodes.values():
            seen = of_agent.get_observations(slice(1, len(of_agent) + 1))
            assert (seen["previous_action"] == of_agent.get_actions() + 1).all()
            assert seen["previous_reward"] == pytest.approx(of_agent.get_rewards(), abs=1e-6)
    worst, _ = worst_error_of_learner(algo, agents_batch(algo, episodes))
    assert worst < TOLERANCE and masked_of(algo) == 0
    algo.stop()


def test_actions_with_bounds_arrive_inside_them(ray_is_quiet: Any) -> None:
    env = {"action": gym.spaces.Box(2.0, 3.0, (2,))}  # the environment looks at each action
    algo, masked = check_agreement(agents_ppo("in turns", env=env))
    assert masked == 0 and AgentsToEnv in pieces_of(algo)
    algo.stop()


def test_steps_without_the_policy_are_an_error_until_episodes_begin_anew(ray_is_quiet: Any) -> None:
    algo = agents_ppo("in turns").build_algo()
    runner = algo.env_runner
    runner.sample(num_timesteps=10)
    with pytest.raises(RuntimeError, match="without the policy"):
        runner.sample(num_timesteps=10, random_actions=True)
    runner.sample(num_timesteps=10, force_reset=True)
    algo.stop()


def test_a_training_is_evaluated_saved_and_goes_on(tmp_path: Path, ray_is_quiet: Any) -> None:
    def config() -> Any:
        made = agents_ppo("enters and leaves", "one each", env={"truncate": True})
        return made.evaluation(evaluation_interval=1, evaluation_duration=2)

    algo = config().build_algo()
    result = algo.train()
    assert result["evaluation"]["env_runners"]["num_episodes"] >= 2
    algo.save_to_path(str(tmp_path))
    EnvToModulePipeline.from_checkpoint(str(tmp_path / "env_runner" / "env_to_module_connector"))
    ModuleToEnvPipeline.from_checkpoint(str(tmp_path / "env_runner" / "module_to_env_connector"))
    again = config().build_algo()
    again.restore_from_path(str(tmp_path))
    for name in ("p", "q"):
        ours, theirs = (a.learner_group._learner.module[name].state_dict() for a in (algo, again))
        assert all((ours[key] == theirs[key]).all() for key in ours)
    learned = again.train()["learners"]
    assert learned["p"][MASKED_STEPS] == learned["q"][MASKED_STEPS] == 0
    algo.stop()
    again.stop()


@pytest.mark.parametrize("kind", [IMPALAConfig, APPOConfig])
def test_the_asynchronous_algorithms_train_several_agents(kind: type, ray_is_quiet: Any) -> None:
    config = kind().environment(Timetable, env_config={"table": "pauses"})
    config.env_runners(num_env_runners=0).learners(num_learners=0)
    config.training(train_batch_size_per_learner=64).debugging(log_level="ERROR")
    config.reporting(min_time_s_per_iteration=0)
    algo = rllib_elmur.use_elmur(several(config, "one each"), **SMALL).build_algo()
    for _ in range(100):
        learned = algo.train()["learners"]
        if {"p", "q"} <= set(learned):
            break
    for name in ("p", "q"):
        assert learned[name]["num_module_steps_trained_lifetime"] > 0
        assert learned[name][MASKED_STEPS] == 0
    assert AgentsToModules in pieces_of(algo)
    algo.stop()
