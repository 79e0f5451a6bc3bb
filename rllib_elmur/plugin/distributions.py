"""RLlib's action distributions, where they can act on sequences and are quick to draw from."""

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchMultiDistribution,
)
from ray.rllib.core.models.catalog import Catalog
from ray.rllib.utils.annotations import override
from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space
from torch import Tensor


def action_distribution(space: gym.Space) -> Any:
    """The distribution class of an action space.

    Raises:
        ValueError: If the space is not supported.
    """
    supported = (
        "it must be Discrete, MultiDiscrete, a one-dimensional Box of floats, or a Dict or Tuple "
        "of these; categories are counted from 0"
    )
    for leaf in tree.flatten(get_base_struct_from_space(space)):
        # RLlib's distributions know of no other start and would act outside of the space.
        if np.any(getattr(leaf, "start", 0)):
            raise ValueError(f"action space {space} is not supported: {supported}.")
    try:
        distribution: Any = Catalog._get_dist_cls_from_action_space(space, framework="torch")
    except Exception as error:
        raise ValueError(
            f"action space {space} is not supported: {supported}. ({error})"
        ) from error
    if distribution is TorchCategorical:
        return _Categorical
    if issubclass(distribution, TorchMultiDistribution):
        return type("OverTimeMultiDistribution", (_OverTime, distribution), {})
    return distribution


class _Categorical(TorchCategorical):
    """RLlib's categorical distribution of logits, drawn and scored by a third of the kernels."""

    def __init__(self, logits: Tensor):
        self.logits, self.probs, self._one_hot = logits, None, None

    @cached_property
    def _dist(self) -> torch.distributions.Distribution:
        """PyTorch's distribution, for all that a step of a rollout does not need."""
        return self._get_torch_distribution(logits=self.logits)

    @override(TorchCategorical)
    def sample(self, *, sample_shape: Any = None) -> Any:
        """Actions (B, T)."""
        if sample_shape:
            return super().sample(sample_shape=sample_shape)
        # The Gumbel-max trick: minus the logarithm of an exponential variable is Gumbel noise.
        noise = torch.empty_like(self.logits).exponential_().log_()
        return (self.logits - noise).argmax(-1)

    @override(TorchCategorical)
    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """The log-probability (B, T) of actions."""
        index = value.long().unsqueeze(-1)
        return self.logits.log_softmax(-1).gather(-1, index).squeeze(-1)


class _OverTime(TorchMultiDistribution):
    """A distribution of several actions whose log-probability is right on (B, T).

    RLlib's takes a time axis of one step for a superfluous axis of a category, and adds up parts of
    different shapes when it is deterministic.
    """

    @override(TorchMultiDistribution)
    def logp(self, value: Any) -> Tensor:
        """The log-probability (B, T) of nested actions."""
        parts = zip(self._flat_child_distributions, tree.flatten(value), strict=True)
        return torch.stack([child.logp(action) for child, action in parts]).sum(0)

    @override(TorchMultiDistribution)
    def to_deterministic(self) -> "_Greedy":
        """The distribution that always takes the likeliest actions."""
        greedy = _Greedy(super().to_deterministic()._original_struct)
        greedy.certain = torch.zeros_like(self.entropy())
        return greedy


class _Greedy(TorchMultiDistribution):
    """A deterministic distribution; its actions have probability 1."""

    certain: Tensor

    @override(TorchMultiDistribution)
    def logp(self, value: Any) -> Tensor:
        """Zeros (B, T)."""
        return self.certain
