"""When a training is checked, and what is reported of it."""

from math import isnan

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_elmur
from rllib_elmur.envs import FiniteTask
from rllib_elmur.proof import callback
from rllib_elmur.proof.callback import CertifyMemory
from rllib_elmur.proof.search import check_all_episodes

NAMES = ("certified", "certificate_states", "certificate_gap", "certificate_seconds")


class Anything(gym.Env):
    """An episode of any length, in which action 0 is correct, or both are."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)
    correct = (True, True)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action):
        return self._look(), 0.0, False, False, {}

    def _look(self):
        return np.array([self.np_random.choice([-1, 1])], np.float32)

    def finite_task(self):
        return FiniteTask(
            start=np.array([0]),
            source=np.array([0, 0]),
            observation=np.array([[-1], [1]], dtype=np.float32),
            correct=np.array([self.correct] * 2),
            target=np.array([0, 0]),
        )


@pytest.fixture(scope="module")
def algorithm():
    config = PPOConfig().environment(Anything).env_runners(num_env_runners=0)
    config.learners(num_learners=0)
    rllib_elmur.use_elmur(config, **{**rllib_elmur.PAPER, "memory_levels": 2}, d_model=8)
    built = config.build_algo()
    yield built
    built.stop()


def reported(reports, algorithm, success=1.0, seconds=1e6):
    sums = {"success_sum": 100 * success, "success_episodes": 100}  # as env runners log them
    result = {"env_runners": sums, "time_total_s": seconds}
    reports.on_train_result(algorithm=algorithm, result=result)
    assert set(NAMES) <= set(result)
    return result


class Impatient(CertifyMemory):
    _MAX_STATES = 1


def test_only_a_policy_that_succeeds_is_checked(algorithm):
    result = reported(CertifyMemory(), algorithm, success=0.98)
    assert all(isnan(result[name]) for name in NAMES)
    result = reported(CertifyMemory(), algorithm, success=0.99)
    assert result["certified"] in (0.0, 1.0) and result["certificate_states"] >= 1


def test_checks_take_a_tenth_of_the_training_and_no_more(algorithm):
    reports = Impatient()
    taken = reported(reports, algorithm)["certificate_seconds"]
    assert isnan(reported(reports, algorithm, seconds=9 * taken)["certified"])
    assert not isnan(reported(reports, algorithm, seconds=11 * taken)["certified"])


def test_an_undecided_policy_is_not_certified(algorithm):
    result = reported(Impatient(), algorithm)
    assert result["certified"] == 0.0 and result["certificate_states"] > 1


def test_what_is_certified_are_the_weights_that_the_learner_is_left_with(algorithm, monkeypatch):
    """An asynchronous learner may go on meanwhile: here it does, in the middle of a check."""
    group = algorithm.learner_group
    before = group.get_weights()
    bias = "network.pi.bias"
    weights = before["default_policy"]
    assert bias in weights

    def answers(first):
        return {"default_policy": {**weights, bias: np.array([first, 0.0], np.float32)}}

    later = [answers(-100.0)]

    def check_while_the_learner_goes_on(*arguments):
        found = check_all_episodes(*arguments)
        if later:
            group.set_weights(later.pop())
        return found

    monkeypatch.setattr(Anything, "correct", (True, False))
    monkeypatch.setattr(callback, "check_all_episodes", check_while_the_learner_goes_on)
    group.set_weights(answers(100.0))
    try:
        assert reported(CertifyMemory(), algorithm)["certified"] == 0.0 and not later
        group.set_weights(answers(100.0))
        result = reported(Impatient(), algorithm)
        assert result["certificate_gap"] > 90
    finally:
        group.set_weights(before)
