"""Acting with a policy gives what training on the same observations gives."""

import copy

import gymnasium as gym
import pytest
import torch
from model_cases import deviation, row_of, shake, state_deviation

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.model.state import State


@pytest.fixture
def policy():
    torch.manual_seed(0)
    config = ELMURConfig(d_model=8, n_heads=2, d_ff=12, segment_length=4, memory_levels=5)
    policy = PolicyNetwork(gym.spaces.Box(-1, 1, (3,)), 4, config).double()
    shake(policy)
    return policy


def act(policy, observation, state, lengths):
    """Acts in calls of these lengths, each on the state that the last one gave."""
    features, start = [], 0
    for length in lengths:
        with torch.no_grad():
            y, state = policy(observation[:, start : start + length], state)
        features.append(y)
        start += length
    return torch.cat(features, dim=1), state


def start_of(policy, n_rows=2):
    return policy.elmur.initial_state(n_rows)


@pytest.mark.parametrize("lengths", [[1] * 20, [20], [3, 1, 1, 1, 7, 1, 1, 5], [1, 6, 1, 1, 1, 10]])
def test_acting_in_calls_of_any_length_equals_training_on_the_whole(policy, lengths):
    observation = torch.rand(2, 20, 3)
    whole, whole_state = policy(observation, start_of(policy))
    features, state = act(policy, observation, start_of(policy), lengths)
    assert deviation(features, whole) < 1e-9
    assert state_deviation(state, whole_state) < 1e-9
    assert not features.requires_grad and not any(part.requires_grad for part in state)


def test_acting_on_any_other_state_than_the_last_takes_nothing_from_the_last_call(policy):
    observation = torch.rand(2, 9, 3)
    _, early = act(policy, observation, start_of(policy), [1] * 6)
    _, late = act(policy, observation, early, [1] * 5)
    fresh = copy.deepcopy(policy)
    others = {
        "an earlier state": early,
        "one row begun anew": State(
            *(torch.cat([a[:1], b[1:]]) for a, b in zip(start_of(policy), late, strict=True))
        ),
        "fewer rows": row_of(late, 1),
        "rows exchanged": State(*(part.flip(0) for part in late)),
        "another memory": late._replace(memory=late.memory.flip(2)),
    }
    for name, other in others.items():
        now = observation[: len(other.clock), 8:]
        for _ in range(2):  # again, once the other state itself was the last one
            expected, expected_state = fresh(now, other)
            features, state = act(policy, now, other, [1])
            assert deviation(features, expected) < 1e-9, name
            assert state_deviation(state, expected_state) < 1e-9, name
            other = state


def test_acting_after_the_weights_changed_is_acting_with_the_new_weights(policy):
    observation = torch.rand(2, 12, 3)
    _, state = act(policy, observation, start_of(policy), [1] * 6)
    other = copy.deepcopy(policy)
    shake(other)
    policy.load_state_dict(other.state_dict())
    features, _ = act(policy, observation[:, 6:], state, [1] * 6)
    assert deviation(features, other(observation[:, 6:], state)[0]) < 1e-9


def test_acting_with_and_without_inference_mode_may_alternate(policy):
    observation = torch.rand(2, 9, 3)
    whole, _ = policy(observation, start_of(policy))
    state, features = start_of(policy), []
    for t in range(9):
        with torch.inference_mode(t % 3 != 1):
            y, state = act(policy, observation[:, t : t + 1], state, [1])
        features.append(y)
    assert deviation(torch.cat(features, dim=1), whole) < 1e-9


def test_a_live_batch_acts_as_the_state_it_was_made_from(policy):
    observation = torch.rand(2, 20, 3)
    whole, whole_state = policy(observation, start_of(policy))
    _, state = act(policy, observation, start_of(policy), [6])
    live = policy.elmur.live(state)
    features = [policy.step(observation[:, t : t + 1], live) for t in range(6, 20)]
    assert deviation(torch.cat(features, dim=1), whole[:, 6:]) < 1e-9
    assert state_deviation(live.state([0, 1]), whole_state) < 1e-9
    assert not features[0].requires_grad


@pytest.mark.parametrize(
    "space",
    [gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(0, 255, (8, 8, 3)), gym.spaces.Discrete(4)],
)
def test_the_starts_mark_is_as_loud_as_a_token(space):
    policy = PolicyNetwork(space, 2, ELMURConfig())
    token = policy.encoder(torch.zeros(1, 1, *space.shape))
    loudness = policy.elmur.start.std() / token.square().mean().sqrt()
    assert loudness.item() == pytest.approx(1.0, abs=0.4)


def test_the_mark_alone_tells_the_first_token():
    policy = PolicyNetwork(gym.spaces.Discrete(4), 2, ELMURConfig())
    tokens = torch.zeros(1, 3, 64)
    marked = policy.elmur.mark(tokens, torch.arange(3)[None])
    assert torch.equal(marked[0, 0], policy.elmur.start) and not marked[0, 1:].any()
    unmarked = PolicyNetwork(gym.spaces.Discrete(4), 2, ELMURConfig(mark_start=False)).elmur
    assert unmarked.start is None and torch.equal(unmarked.mark(tokens, torch.zeros(1, 3)), tokens)
