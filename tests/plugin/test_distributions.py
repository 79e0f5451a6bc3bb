"""The distributions of actions are RLlib's, whatever is computed differently."""

import pytest
import torch
from gymnasium.spaces import Discrete
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical

from rllib_elmur.plugin.distributions import action_distribution


@pytest.fixture
def pair():
    logits = 3 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    return action_distribution(Discrete(4)).from_logits(logits), TorchCategorical(logits)


def test_what_a_learner_asks_of_a_categorical_distribution_is_rllibs(pair):
    ours, theirs = pair
    actions = theirs.sample()
    assert torch.allclose(ours.logp(actions), theirs.logp(actions), atol=1e-6)
    assert torch.equal(ours.entropy(), theirs.entropy())
    other = TorchCategorical(torch.zeros(2, 5, 4))
    assert torch.equal(ours.kl(other), theirs.kl(other))
    assert torch.equal(ours.to_deterministic().sample(), theirs.to_deterministic().sample())


def test_actions_are_drawn_as_often_as_their_probability_says(pair):
    ours, theirs = pair
    torch.manual_seed(0)
    n = 20_000
    drawn = torch.stack([ours.sample() for _ in range(n)])
    assert drawn.shape == (n, 2, 5)
    frequency = torch.nn.functional.one_hot(drawn, 4).float().mean(0)
    probability = theirs._dist.probs
    deviation = (probability * (1 - probability) / n).sqrt()
    assert ((frequency - probability).abs() < 5 * deviation + 1e-4).all()
    assert ours.sample(sample_shape=(7,)).shape == (7, 2, 5)
