"""What was saved is what is restored, and training goes on from it as it would have."""

import numpy as np
import pytest
import torch
import tree
from plugin_helpers import SMALL, elmur_ppo, learner_module, weights
from ray import cloudpickle
from ray.rllib.algorithms.impala import IMPALAConfig

import rllib_elmur

MAZE = "rllib_elmur/TMazePassive-v0"
SCHEDULE = [[0, 1e-3], [10_000, 1e-4]]


def build():
    config = elmur_ppo(MAZE, {"corridor_length": [1, 9]}, memory_levels=2, weight_decay=0.1)
    return config.training(lr=SCHEDULE, use_kl_loss=True).build_algo()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A training after three iterations, its checkpoint, the weights in it."""
    algo = build()
    for _ in range(3):
        algo.train()
    path = algo.save_to_path(str(tmp_path_factory.mktemp("saved")))
    yield algo, path, weights(learner_module(algo))
    algo.stop()


def leaves(state):
    """The numbers of a nested state, by path; counters and timers of metrics aside."""
    return {
        "/".join(map(str, path)): np.asarray(value)
        for path, value in tree.flatten_with_path(state)
        if not any("metrics" in str(part) for part in path)
    }


def update(algo, episodes):
    torch.manual_seed(0)
    np.random.seed(0)  # of minibatches
    algo.learner_group.update(
        episodes=cloudpickle.loads(episodes), num_epochs=1, minibatch_size=64, shuffle=False
    )


def test_all_that_was_saved_is_restored_and_an_update_gives_the_same_weights(saved, ray_is_quiet):
    algo, path, _ = saved
    other = build()
    other.restore_from_path(path)
    for part in ("learner_group", "env_runner"):
        before, after = (leaves(getattr(a, part).get_state()) for a in (algo, other))
        assert before.keys() == after.keys() and len(before) > 3, part
        for name, value in before.items():
            assert np.array_equal(value, after[name]), name
    assert other.iteration == algo.iteration
    steps = [
        a.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime")) for a in (algo, other)
    ]
    assert steps[0] == steps[1] > 0
    episodes = cloudpickle.dumps(algo.env_runner.sample(num_timesteps=64))
    for a in (algo, other):
        update(a, episodes)
    first, second = (weights(learner_module(a)) for a in (algo, other))
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name
    other.stop()


def test_impala_begins_with_the_weights_of_ppo(saved, ray_is_quiet):
    _, path, expected = saved
    config = IMPALAConfig().environment(MAZE, env_config={"corridor_length": [1, 9]})
    config.env_runners(num_env_runners=0, rollout_fragment_length=10)
    config.learners(num_learners=0).training(train_batch_size_per_learner=20, lr=0.0)
    config.reporting(min_time_s_per_iteration=0).debugging(log_level="ERROR")
    impala = rllib_elmur.use_elmur(config, **{**SMALL, "memory_levels": 2}).build_algo()
    impala.restore_from_path(path)
    for name, value in weights(learner_module(impala)).items():
        assert np.array_equal(value, expected[name]), name
    impala.train()
    impala.stop()
