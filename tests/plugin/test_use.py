"""`use_elmur` and the bare spec: what they set, and what they refuse."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from plugin_helpers import SMALL, learner_module, ppo, tuned
from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

import rllib_elmur
from rllib_elmur.plugin.policy_options import PolicyOptions

TMAZE = "rllib_elmur/TMazePassive-v0"


def bare(config: AlgorithmConfig, options: Any = None, **kwargs: Any) -> Any:
    spec = RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule, model_config=options or {})
    return config.rl_module(rl_module_spec=spec, **kwargs)


def test_it_returns_the_config_it_was_given_with_elmur_as_its_module() -> None:
    config = PPOConfig()
    assert rllib_elmur.use_elmur(config, segment_length=7) is config
    assert config.rl_module_spec.module_class is rllib_elmur.ELMURTorchRLModule
    assert config.rl_module_spec.model_config["segment_length"] == 7


@pytest.mark.parametrize("config", [PPOConfig, BCConfig, MARWILConfig, IMPALAConfig, APPOConfig])
def test_algorithms_on_sequences_are_accepted(config: type[AlgorithmConfig]) -> None:
    rllib_elmur.use_elmur(config(), **SMALL)


@pytest.mark.parametrize("config", [DQNConfig, SACConfig, CQLConfig])
def test_algorithms_with_a_q_network_are_not_supported(config: type[AlgorithmConfig]) -> None:
    with pytest.raises(ValueError, match=r"not supported by ELMUR.*QNetAPI.*PPO"):
        rllib_elmur.use_elmur(config())


@pytest.mark.parametrize(
    ("config", "env", "name"), [(DQNConfig, TMAZE, "DQN"), (SACConfig, TMAZE, "SAC")]
)
def test_the_bare_spec_says_at_build_that_they_are_not_supported(
    config: type[AlgorithmConfig], env: str, name: str
) -> None:
    algorithm = bare(config().environment(env).env_runners(num_env_runners=0))
    with pytest.raises(ValueError, match=f"{name}.*not supported by ELMUR"):
        algorithm.build_algo()


def test_the_config_of_no_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="AlgorithmConfig is the config of no algorithm"):
        rllib_elmur.use_elmur(AlgorithmConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_lenght": 5}, "segment_lenght=5 is not an option.*'segment_length'"),
        ({"segment_length": 0}, "segment_length=0: must be an integer >= 1"),
        ({"memory_slots": 2.5}, "memory_slots=2.5: must be an integer"),
        ({"lru_blend": 1.5}, "lru_blend=1.5: must be a number >= 0.0 and <= 1.0"),
        ({"memory_levels": 1}, "memory_levels=1: must be an integer >= 2"),
        ({"n_heads": 5}, "n_heads=5 does not divide d_model=64"),
        ({"max_seq_len": 0}, "max_seq_len=0: must be an integer >= 1"),
        ({"use_lstm": True}, "use_lstm=True is not an option"),
        ({"segment_lenght": tune.choice([5])}, "segment_lenght=.* is not an option"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_named_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rllib_elmur.use_elmur(PPOConfig(), **options)


def test_sequences_too_short_for_memory_to_get_a_gradient_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="max_seq_len=9 is less than two segments"):
        rllib_elmur.use_elmur(PPOConfig(), segment_length=5, max_seq_len=9)


@pytest.mark.parametrize("flags", [(False, False), (True, False)])
def test_the_old_api_stack_is_refused(flags: tuple[bool, bool]) -> None:
    config = PPOConfig().api_stack(
        enable_rl_module_and_learner=flags[0], enable_env_runner_and_connector_v2=flags[1]
    )
    with pytest.raises(ValueError, match=r"enable_rl_module_and_learner.*new API stack"):
        rllib_elmur.use_elmur(config)


def test_options_take_the_place_of_a_former_modules() -> None:
    config = (
        ppo(TMAZE)
        .training(minibatch_size=64)
        .rl_module(model_config=DefaultModelConfig(use_lstm=True, max_seq_len=12))
    )
    options = {key: value for key, value in SMALL.items() if key != "max_seq_len"}
    algo = rllib_elmur.use_elmur(config, **options).build_algo()
    default = PolicyOptions().max_seq_len
    assert learner_module(algo).model_config["max_seq_len"] == default
    # RLlib's offline data pipeline reads it here.
    assert config.model_config["max_seq_len"] == default
    algo.stop()


@pytest.mark.parametrize("as_dataclass", [True, False])
def test_rllibs_own_model_settings_pass(as_dataclass: bool) -> None:
    if as_dataclass:
        config = bare(ppo(TMAZE), DefaultModelConfig(max_seq_len=10))
    else:
        config = bare(ppo(TMAZE), SMALL, model_config=DefaultModelConfig(max_seq_len=12))
    algo = config.build_algo()
    max_seq_len = learner_module(algo).model_config["max_seq_len"]
    assert max_seq_len == (10 if as_dataclass else SMALL["max_seq_len"])
    algo.train()
    algo.stop()


@pytest.mark.parametrize(
    ("model_config", "message"),
    [
        (
            {"memory_slot": 2},
            "memory_slot=2 is not an option of ELMUR. Did you mean 'memory_slots'",
        ),
        ({"d_model": 0}, "d_model=0: must be an integer >= 1"),
    ],
)
def test_wrong_options_of_the_bare_spec_are_named_at_build(
    model_config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bare(ppo(TMAZE), model_config).build_algo()


def test_the_bare_spec_trains_with_its_defaults_filled_in() -> None:
    algo = bare(ppo(TMAZE)).build_algo()
    algo.train()
    algo.stop()


def test_tune_chooses_an_option_of_the_model(tmp_path: Path) -> None:
    options = SMALL | {
        "segment_length": tune.grid_search([2, 3]),
        "memory_slots": tune.choice([4]),
    }
    config = rllib_elmur.use_elmur(ppo(TMAZE), **options)
    results = tuned(config, tmp_path)
    assert not results.errors
    lengths = set()
    for result in results:
        path = Path(result.checkpoint.path)
        module = RLModule.from_checkpoint(path / "learner_group/learner/rl_module/default_policy")
        lengths.add(module.network.elmur.config.segment_length)
        assert module.network.elmur.config.memory_slots == 4
    assert lengths == {2, 3}


def test_the_environments_of_the_package_get_their_vector_form_unless_another_is_chosen() -> None:
    ours = "rllib_elmur/TMazePassive-v0"
    config = rllib_elmur.use_elmur(PPOConfig().environment(ours))
    assert config.gym_env_vectorize_mode == "vector_entry_point"
    chosen = PPOConfig().environment(ours)
    chosen.env_runners(gym_env_vectorize_mode=gym.VectorizeMode.ASYNC)
    assert rllib_elmur.use_elmur(chosen).gym_env_vectorize_mode is gym.VectorizeMode.ASYNC
    config.env_runners(gym_env_vectorize_mode="sync")  # a later choice
    config.validate()
    assert config.gym_env_vectorize_mode == "sync"
    other = rllib_elmur.use_elmur(PPOConfig().environment("CartPole-v1"))
    assert other.gym_env_vectorize_mode == "sync"


def test_an_env_runner_of_the_users_stays() -> None:
    config = PPOConfig().environment("CartPole-v1").env_runners(env_runner_cls=SingleAgentEnvRunner)
    assert rllib_elmur.use_elmur(config).env_runner_cls is SingleAgentEnvRunner


def test_the_sparse_state_says_what_it_is_not_for() -> None:
    config = rllib_elmur.use_elmur(PPOConfig().environment("CartPole-v1"))
    config.offline_data(output="somewhere")
    with pytest.raises(ValueError, match="output='somewhere'"):
        config.env_runner_cls(config=config, worker_index=0, num_workers=0)
    config = rllib_elmur.use_elmur(PPOConfig().environment("CartPole-v1"))
    config.multi_agent(policies={"a", "b"}, policy_mapping_fn=lambda *args: "a")
    with pytest.raises(ValueError, match=r"after `config\.multi_agent"):
        config.env_runner_cls(config=config, worker_index=0, num_workers=0)
