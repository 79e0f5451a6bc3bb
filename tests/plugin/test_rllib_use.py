"""ELMUR behaves as any module of RLlib: multi-agent, checkpoints, evaluation, remote runners."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from plugin_helpers import (
    SMALL,
    RandomEnv,
    TwoAgents,
    elmur_ppo,
    learner_module,
    learner_of,
    play,
    ppo,
    unmoved,
    weights,
)
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

import rllib_elmur
from rllib_elmur.plugin.train_rows import MASKED_STEPS

TMAZE = "rllib_elmur/TMazePassive-v0"


def test_it_trains_beside_an_lstm_of_rllib() -> None:
    elmur = RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule, model_config=SMALL)
    lstm = RLModuleSpec(
        model_config=DefaultModelConfig(
            use_lstm=True, lstm_cell_size=8, max_seq_len=5, fcnet_hiddens=[8]
        )
    )
    config = ppo(TwoAgents).multi_agent(
        policies={"first", "second"}, policy_mapping_fn=lambda agent, episode, **kwargs: agent
    )
    config.rl_module(
        rl_module_spec=MultiRLModuleSpec(rl_module_specs={"first": elmur, "second": lstm})
    )
    algo = config.build_algo()
    before = {key: weights(learner_module(algo, key)) for key in ("first", "second")}
    algo.train()
    for key, old in before.items():
        assert unmoved(old, weights(learner_module(algo, key))) == []
    # Each is still fed its own kind of state, and agrees with what was sampled.
    episodes = [e for n in (5, 20, 9) for e in algo.env_runner.sample(num_timesteps=n)]
    learner = learner_of(algo)
    batch = learner._learner_connector(
        rl_module=learner.module, batch={}, episodes=episodes, shared_data={}
    )
    assert set(batch["second"][Columns.STATE_IN]) == {"h", "c"}
    for key in ("first", "second"):
        logits = learner_module(algo, key).forward_train(batch[key])[Columns.ACTION_DIST_INPUTS]
        error = (logits - batch[key][Columns.ACTION_DIST_INPUTS])[batch[key][Columns.LOSS_MASK]]
        assert error.abs().max() <= 1e-5
    algo.stop()


def test_a_restored_algorithm_acts_and_trains_on_as_the_saved_one(tmp_path: Path) -> None:
    algo = elmur_ppo(RandomEnv, {"lengths": [5, 30]}).build_algo()
    algo.train()
    algo.save_to_path(tmp_path)
    restored = Algorithm.from_checkpoint(tmp_path)
    assert type(learner_of(restored)) is type(learner_of(algo))
    saved = [a.get_module() for a in (algo, restored)]
    for a, b in zip(*(weights(module).values() for module in saved), strict=True):
        np.testing.assert_array_equal(a, b)
    moments = [
        [v for state in learner_of(a)._named_optimizers.values() for v in state.state.values()]
        for a in (algo, restored)
    ]
    for a, b in zip(*moments, strict=True):
        assert torch.equal(a["exp_avg"], b["exp_avg"])
    result = restored.train()
    assert result["training_iteration"] == 2
    algo.stop()
    restored.stop()


def test_evaluation_with_an_interval_and_on_demand() -> None:
    config = elmur_ppo(TMAZE, {"corridor_length": [3, 6]}).evaluation(
        evaluation_interval=1,
        evaluation_num_env_runners=0,
        evaluation_duration=4,
        evaluation_config={"env_config": {"corridor_length": 9}, "explore": False},
    )
    algo = config.build_algo()
    assert algo.train()["evaluation"]["env_runners"]["num_episodes"] >= 4
    by_hand = algo.evaluate()["env_runners"]
    assert by_hand["num_episodes"] >= 4
    assert by_hand["episode_len_max"] <= 10
    # The evaluating policy is the trained one.
    evaluating = algo.eval_env_runner_group.local_env_runner.module
    for name, value in weights(evaluating).items():
        np.testing.assert_array_equal(value, weights(learner_module(algo))[name])
    algo.stop()


def test_a_module_of_a_checkpoint_acts_alike_in_a_gymnasium_loop(tmp_path: Path) -> None:
    algo = elmur_ppo(TMAZE, {"corridor_length": 6}).build_algo()
    algo.train()
    algo.save_to_path(tmp_path)
    path = tmp_path / "learner_group/learner/rl_module/default_policy"
    env = gym.make(TMAZE, corridor_length=6)
    actions = [
        play(module, env, 15) for module in (algo.get_module(), RLModule.from_checkpoint(path))
    ]
    assert actions[0] == actions[1]
    algo.stop()


def test_a_remote_env_runner_finds_the_environment_by_name_and_trains() -> None:
    config = elmur_ppo(TMAZE, {"corridor_length": [3, 6]}, previous_action=True)
    config.env_runners(num_env_runners=1)
    algo = config.build_algo()
    before = weights(learner_module(algo))
    result = algo.train()
    assert result["env_runners"]["num_env_steps_sampled"] >= 64
    assert unmoved(before, weights(learner_module(algo))) == []
    algo.stop()


def test_a_native_vector_environment_trains() -> None:
    config = elmur_ppo(TMAZE, {"corridor_length": [3, 6]})
    config.env_runners(
        num_envs_per_env_runner=4, gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT
    )
    algo = config.build_algo()
    assert algo.train()["env_runners"]["num_episodes"] > 0
    algo.stop()


class NotANumber(RandomEnv):
    """A dict of which one part becomes NaN at a given step."""

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.at = dict(config or {}).get("at", 0)
        self.observation_space = gym.spaces.Dict(
            {"good": gym.spaces.Discrete(2), "bad": gym.spaces.Box(-1, 1, (3,))}
        )

    def _spoiled(self, observation: Any) -> Any:
        if self.t == self.at:
            observation["bad"][1] = np.nan
        return observation

    def reset(self, **kwargs: Any) -> Any:
        observation, info = super().reset(**kwargs)
        return self._spoiled(observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return self._spoiled(observation), *rest


@pytest.mark.parametrize(
    ("batch_mode", "at"),
    # At a step of the policy; where only the learner sees it: at the end of a fragment, of an
    # episode.
    [("truncate_episodes", 50), ("truncate_episodes", 64), ("complete_episodes", 70)],
)
def test_an_observation_that_is_not_a_number_is_named_and_the_checkpoint_stays_usable(
    tmp_path: Path, batch_mode: str, at: int
) -> None:
    config = elmur_ppo(NotANumber, {"lengths": [70], "at": at})
    config.env_runners(num_envs_per_env_runner=1, batch_mode=batch_mode)
    algo = config.build_algo()
    before = weights(learner_module(algo))
    algo.save_to_path(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"observation\['bad'\] contains nan .*the environment NotANumber returned it",
    ):
        algo.train()
    if batch_mode == "truncate_episodes":
        assert len(unmoved(before, weights(learner_module(algo)))) == len(before)
    algo.stop()
    restored = Algorithm.from_checkpoint(tmp_path)
    for name, value in weights(learner_module(restored)).items():
        assert np.isfinite(value).all(), name
    restored.stop()


def test_two_learners_train_on_slices_and_count_what_they_mask() -> None:
    # An environment that the learners' processes can import; its episodes take 20 steps.
    config = elmur_ppo(TMAZE, {"corridor_length": 9, "slack": 2.0}, rotate_distances=True)
    config.env_runners(num_envs_per_env_runner=3)
    config.learners(num_learners=2, num_cpus_per_learner=1)
    config.training(train_batch_size_per_learner=64, minibatch_size=32)
    algo = config.build_algo()
    before = weights_of_learners(algo)
    masked = []
    for _ in range(3):
        learners = algo.train()["learners"][DEFAULT_MODULE_ID]
        masked.append(float(learners[MASKED_STEPS]))
    after = weights_of_learners(algo)
    algo.stop()
    assert not unmoved(before, after)
    # Each iteration slices at most one episode, of which the second learner may lack the state.
    assert 0 < sum(masked) < 3 * 40


def weights_of_learners(algo: Any) -> dict[str, Any]:
    state = algo.learner_group.get_weights()[DEFAULT_MODULE_ID]
    return {name: np.array(value) for name, value in state.items()}
