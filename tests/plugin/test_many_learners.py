"""Two learners side by side: they step together, by the mean of their gradients."""

import copy

import numpy as np
import pytest
import torch
from plugin_helpers import elmur_ppo, learner_of, train_batch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.minibatch_utils import ShardEpisodesIterator

# No finished segment of 3 steps in one learner's batch, in both, in none; a sliced episode.
EPISODES = {"uneven": [17, 2, 1, 2, 2, 1], "short": [2, 1, 2, 1], "long": [9, 8], "sliced": [19]}


def config(n_learners):
    maze = {"corridor_length": 30, "slack": 2.0}  # workers know nothing of the tests' environments
    built = elmur_ppo("rllib_elmur/TMazePassive-v0", maze)
    built.learners(num_learners=n_learners)
    return built


@pytest.fixture(scope="module")
def pair():
    """An algorithm with two learners, and one with a local one."""
    algos = [config(2).build_algo(), config(0).build_algo()]
    yield algos
    for algo in algos:
        algo.stop()


def episodes_of(algo, lengths):
    """Episodes that were cut after so many steps."""
    made = []
    for length in lengths:
        algo.env_runner._needs_initial_reset = True
        made += algo.env_runner.sample(num_timesteps=2 * length)[:1]
    return made


@pytest.mark.parametrize("lengths", EPISODES.values(), ids=EPISODES)
def test_gradients_are_the_mean_of_those_of_the_shards(pair, lengths):
    many, one = pair
    learner = learner_of(one)
    learner.module[DEFAULT_MODULE_ID].set_state(many.learner_group.get_weights()[DEFAULT_MODULE_ID])
    episodes = episodes_of(one, lengths)
    assert [len(episode) for episode in episodes] == lengths
    shards = ShardEpisodesIterator(copy.deepcopy(episodes), 2, len_lookback_buffer=1)
    expected = []
    for shard in shards:
        batch = {DEFAULT_MODULE_ID: train_batch(one, shard)}
        losses = learner.compute_losses(fwd_out=learner.module.forward_train(batch), batch=batch)
        gradients = learner.compute_gradients(losses)
        expected.append({p: g.clone() for p, g in gradients.items()})

    many.learner_group.update(episodes=episodes, num_epochs=1)
    for made in many.learner_group.foreach_learner(
        lambda learner: {
            name: parameter.grad.numpy()
            for name, parameter in learner.module["default_policy"].unwrapped().named_parameters()
        }
    ):
        for name, parameter in learner.module[DEFAULT_MODULE_ID].named_parameters():
            mean = sum(shard[learner.get_param_ref(parameter)] for shard in expected) / 2
            assert np.abs(made.get()[name] - mean.numpy()).max() < 1e-6, name


def test_weights_stay_the_same_on_both(pair):
    many, _ = pair
    for _ in range(2):
        many.train()
    first, second = many.learner_group.foreach_learner(
        lambda learner: learner.get_state(components="rl_module")["rl_module"]["default_policy"]
    )
    for name, value in first.get().items():
        assert np.array_equal(value, second.get()[name]), name
    assert torch.isfinite(torch.tensor(list(first.get()["vf.weight"]))).all()
