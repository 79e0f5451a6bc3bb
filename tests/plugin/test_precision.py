"""A module that was converted to bfloat16 acts; NumPy has no such type, so columns are float32."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import tree
from plugin_helpers import Doubled, RandomEnv, elmur_ppo
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

import rllib_elmur

WAYS = {
    "sparse": {},
    "dense": {"env_runner_cls": SingleAgentEnvRunner},
    "connector": {"env_to_module_connector": lambda *arguments: Doubled()},
}
MODELS = [
    {},
    {"attention_window": 8, "norm_first": True, "memory_levels": 5, "rotate_distances": True},
]
ENV = {"action": gym.spaces.Box(-1, 1, (2,)), "lengths": [9, 30]}


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_a_module_in_bfloat16_samples_and_is_learned_from(way: str, options: Any) -> None:
    algo = elmur_ppo(RandomEnv, ENV, **options).env_runners(**WAYS[way]).build_algo()
    algo.env_runner.sample(num_timesteps=11)  # a running live batch is converted, too
    algo.env_runner.module.bfloat16()
    for episode in algo.env_runner.sample(num_timesteps=50):
        names = episode.extra_model_outputs.keys() - {"state_snapshots"}
        items = [episode.get_extra_model_outputs(name, 0) for name in names]
        for item in tree.flatten([*items, episode.get_actions(0)]):
            assert item.dtype.kind == "i" or item.dtype == np.float32
            assert np.isfinite(item).all()
    assert algo.train()["num_training_step_calls_per_iteration"]
    algo.stop()


def test_its_actions_are_those_of_float32_up_to_rounding(tmp_path: Path) -> None:
    algo = elmur_ppo(RandomEnv, ENV).build_algo()
    algo.save_to_path(tmp_path)
    algo.stop()
    exact, rounded = rllib_elmur.load_policy(tmp_path), rllib_elmur.load_policy(tmp_path)
    rounded._actor.running.network.bfloat16()
    random = np.random.default_rng(0)
    for _ in range(20):
        seen = random.uniform(-1, 1, 3).astype(np.float32)
        found = rounded.act(seen)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact.act(seen), atol=0.02)


def test_a_state_goes_in_and_comes_out_as_float32(tmp_path: Path) -> None:
    algo = elmur_ppo(RandomEnv, ENV).build_algo()
    algo.save_to_path(tmp_path)
    algo.stop()
    module = RLModule.from_checkpoint(tmp_path / "learner_group/learner/rl_module/default_policy")
    module.bfloat16()
    state = {name: value[None] for name, value in module.get_initial_state().items()}
    for _ in range(5):
        output = module.forward_inference({"obs": torch.zeros(1, 1, 3), "state_in": state})
        state = output["state_out"]
        assert {x.dtype for x in state.values()} == {torch.float32, torch.int64}
        assert output["action_dist_inputs"].dtype == torch.float32
