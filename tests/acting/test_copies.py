"""A policy is copied and pickled in the midst of an episode."""

import copy
import pickle

import numpy as np
import pytest
from plugin_helpers import BOTH, RandomEnv, elmur_ppo

import rllib_elmur


def pickled(policy):
    return pickle.loads(pickle.dumps(policy))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_a_copy_goes_on_with_what_was_remembered_and_leaves_the_policy_alone(again, saved):
    path, _ = saved(elmur_ppo(RandomEnv, **BOTH))
    policy, observations = rllib_elmur.load_policy(path), np.random.rand(30, 3).astype(np.float32)
    played = [policy.act(seen, 0.5) for seen in observations]
    policy.reset()
    first = [policy.act(seen, 0.5) for seen in observations[:10]]
    twin = again(policy)
    other = [twin.act(seen, 0.5) for seen in observations[10:]]
    assert first + other == played
    assert [policy.act(seen, 0.5) for seen in observations[10:]] == other
