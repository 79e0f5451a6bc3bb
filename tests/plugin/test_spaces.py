"""Any space an RLlib user brings trains, is saved, restored and acts."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from plugin_helpers import (
    RandomEnv,
    elmur_ppo,
    learner_module,
    play,
    unmoved,
    weights,
)
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModule

OBSERVATIONS = {
    "vector": Box(-1, 1, (3,)),
    "uint8 image": Box(0, 255, (8, 8, 3), np.uint8),
    "Discrete": Discrete(3),
    "Dict": Dict({"vector": Box(-1, 1, (2,)), "category": Discrete(2)}),
}
ACTIONS = {
    "Discrete": Discrete(3),
    "MultiDiscrete": MultiDiscrete([2, 3]),
    "Box": Box(-2, 2, (2,)),
}
PAIRS = {
    f"{observation} x {action}": (OBSERVATIONS[observation], ACTIONS[action])
    for observation in OBSERVATIONS
    for action in ACTIONS
}
MORE = {
    "MultiBinary": (MultiBinary(4), Discrete(2)),
    "MultiDiscrete": (MultiDiscrete([2, 3]), Discrete(2)),
    "Tuple": (Tuple([Box(-1, 1, (2,)), MultiBinary(2)]), Discrete(2)),
    "nested Dict": (
        Dict({"a": Dict({"b": Tuple([Discrete(2), Box(-1, 1, ())])}), "c": MultiDiscrete([2])}),
        Discrete(2),
    ),
    "float image": (Box(0, 1, (9, 7, 1), np.float32), Discrete(2)),
    "gray image without a channel axis": (Box(0, 255, (8, 8), np.uint8), Discrete(2)),
    "float64 vector": (Box(-1, 1, (2,), np.float64), Discrete(2)),
    "Discrete from 5": (Discrete(3, start=5), Discrete(2)),
    "to Dict": (Box(-1, 1, (2,)), Dict({"a": Discrete(2), "b": Box(-1, 1, (2,))})),
    "to Tuple": (Box(-1, 1, (2,)), Tuple([Discrete(2), MultiDiscrete([2, 3])])),
}


def trains_saves_restores_and_acts(
    path: Path, observation: gym.Space, action: gym.Space, **options: Any
) -> None:
    env_config = {"observation": observation, "action": action}
    algo = elmur_ppo(RandomEnv, env_config, **options).build_algo()
    before = weights(learner_module(algo))
    algo.train()
    trained = weights(learner_module(algo))
    assert unmoved(before, trained) == []
    algo.save_to_path(path)
    acts(path, env_config)
    restored = Algorithm.from_checkpoint(path)
    assert len(unmoved(trained, weights(learner_module(restored)))) == len(trained)
    algo.stop()
    restored.stop()


def acts(path: Path, env_config: dict[str, Any]) -> None:
    module = RLModule.from_checkpoint(path / "learner_group/learner/rl_module/default_policy")
    env = RandomEnv(env_config)
    assert len(play(module, env, n_steps=20)) == 20  # the environment checks each action


@pytest.mark.parametrize("pair", PAIRS)
def test_every_pair_of_spaces_trains_all_parameters_is_saved_restored_and_acts(
    tmp_path: Path, pair: str
) -> None:
    trains_saves_restores_and_acts(tmp_path, *PAIRS[pair])


@pytest.mark.parametrize("pair", MORE)
def test_further_spaces_train_all_parameters(tmp_path: Path, pair: str) -> None:
    observation, action = MORE[pair]
    env_config = {"observation": observation, "action": action}
    algo = elmur_ppo(RandomEnv, env_config).build_algo()
    before = weights(learner_module(algo))
    algo.train()
    assert unmoved(before, weights(learner_module(algo))) == []
    algo.save_to_path(tmp_path)
    algo.stop()
    acts(tmp_path, env_config)


@pytest.mark.parametrize(
    "options",
    [
        {"memory_levels": 2},
        {"memory_levels": 5, "norm_first": True},
        {"lru_blend": 1.0, "memory_slots": 3, "n_layers": 1},
    ],
    ids=str,
)
def test_every_parameter_moves_with_other_options_of_the_model(options: dict[str, Any]) -> None:
    algo = elmur_ppo(**options).build_algo()
    before = weights(learner_module(algo))
    algo.train()
    algo.stop()
    assert unmoved(before, weights(learner_module(algo))) == []


def test_a_memory_that_is_not_learned_stays_as_drawn() -> None:
    algo = elmur_ppo(learned_memory=False).build_algo()
    module = learner_module(algo)
    drawn = [layer.initial_memory.clone() for layer in module.network.elmur.layers]
    algo.train()
    algo.stop()
    for before, layer in zip(drawn, module.network.elmur.layers, strict=True):
        assert (before == layer.initial_memory).all()


@pytest.mark.parametrize(
    ("env_config", "names"),
    [
        ({"observation": Box(-1, 1, (2, 2, 2, 2))}, ["(2, 2, 2, 2)", "at most 3 axes"]),
        ({"observation": Dict({"text": gym.spaces.Text(5)})}, ["'text'", "Text"]),
        ({"action": MultiBinary(3)}, ["MultiBinary(3)", "Discrete, MultiDiscrete"]),
        ({"action": Box(-1, 1, (2, 2))}, ["(2, 2)", "one-dimensional Box"]),
        ({"action": Box(0, 5, (2,), np.int64)}, ["int64", "Box of floats"]),
        ({"action": Discrete(3, start=1)}, ["start=1", "counted from 0"]),
        ({"action": Dict({"a": MultiDiscrete([2], start=[1])})}, ["start", "counted from 0"]),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_an_unsupported_space_is_refused_at_build(
    env_config: dict[str, Any], names: list[str]
) -> None:
    with pytest.raises(ValueError, match="not supported") as error:
        elmur_ppo(RandomEnv, env_config).build_algo()
    for name in names:
        assert name in str(error.value)
