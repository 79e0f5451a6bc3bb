"""RLlib's action distributions, where they can act on sequences and are quick to draw from."""

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchMultiDistribution,
)
from ray.rllib.core.models.catalog import Catalog
from ray.rllib.utils.annotations import override
from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space
from torch import Tensor

_ANY_OBSERVATION = gym.spaces.Box(-1.0, 1.0, (1,))


def action_distribution(space: gym.Space) -> Any:
    """The distribution class of an action space.

    Raises:
        ValueError: If the space is not supported.
    """
    supported = (
        "it must be Discrete, MultiDiscrete, a one-dimensional Box of floats, or a Dict or Tuple "
        "of these; categories are counted from 0"
    )
    struct = get_base_struct_from_space(space)
    leaves = tree.flatten(struct)
    # RLlib's distributions know of no other start and would act outside of the space.
    if any(np.any(getattr(leaf, "start", 0)) for leaf in leaves):
        raise ValueError(f"action space {space} is not supported: {supported}.")
    try:
        if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
            return _OverTime.get_partial_dist_cls(  # ty: ignore[invalid-argument-type]
                space=space,
                child_distribution_cls_struct=tree.map_structure(_of_rllib, struct),
                input_lens=[int(_of_rllib(leaf).required_input_dim(leaf)) for leaf in leaves],
            )
        distribution = _of_rllib(space)
    except Exception as error:
        raise ValueError(
            f"action space {space} is not supported: {supported}. ({error})"
        ) from error
    return _Categorical if distribution is TorchCategorical else distribution


def _of_rllib(space: gym.Space) -> Any:
    """The distribution class that RLlib's own modules have for an action space."""
    return Catalog(_ANY_OBSERVATION, space, {}).get_action_dist_cls(framework="torch")


class _Categorical(TorchCategorical):
    """RLlib's categorical distribution of logits, drawn and scored by a third of the kernels."""

    def __init__(self, logits: Tensor):
        # RLlib's class would normalise the logits, which a step of a rollout does not need.
        self.logits, self.probs = logits, None

    @cached_property
    def normalized(self) -> TorchCategorical:
        """RLlib's distribution of the same logits."""
        return TorchCategorical(self.logits)

    @override(TorchCategorical)
    def sample(self, *, sample_shape: Any = None) -> Any:
        """Actions (B, T)."""
        if sample_shape:
            return self.normalized.sample(sample_shape=sample_shape)
        # The Gumbel-max trick: minus the logarithm of an exponential variable is Gumbel noise.
        noise = torch.empty_like(self.logits).exponential_().log_()
        return (self.logits - noise).argmax(-1)

    @override(TorchCategorical)
    def rsample(self, *args: Any, **kwargs: Any) -> Any:
        """Actions that gradients pass through."""
        return self.normalized.rsample(*args, **kwargs)

    @override(TorchCategorical)
    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """The log-probability (B, T) of actions."""
        index = value.long().unsqueeze(-1)
        return self.logits.log_softmax(-1).gather(-1, index).squeeze(-1)

    @override(TorchCategorical)
    def entropy(self) -> Any:
        """The entropy (B, T)."""
        return self.normalized.entropy()

    @override(TorchCategorical)
    def kl(self, other: Distribution) -> Any:
        """The Kullback-Leibler divergence (B, T) from another categorical distribution."""
        other = other.normalized if isinstance(other, _Categorical) else other
        return self.normalized.kl(other)


class _OverTime(TorchMultiDistribution):
    """A distribution of several actions whose log-probability is right on (B, T).

    RLlib's takes a time axis of one step for a superfluous axis of a category, and adds up parts of
    different shapes when it is deterministic.
    """

    def __init__(self, child_distribution_struct: Any):
        super().__init__(child_distribution_struct)
        self.parts = child_distribution_struct

    @override(TorchMultiDistribution)
    def logp(self, value: Any) -> Tensor:
        """The log-probability (B, T) of nested actions."""
        parts = zip(tree.flatten(self.parts), tree.flatten(value), strict=True)
        return torch.stack([part.logp(action) for part, action in parts]).sum(0)

    @override(TorchMultiDistribution)
    def to_deterministic(self) -> "_Greedy":
        """The distribution that always takes the likeliest actions."""
        greedy = _Greedy(tree.map_structure(lambda part: part.to_deterministic(), self.parts))
        greedy.certain = torch.zeros_like(self.entropy())
        return greedy


class _Greedy(TorchMultiDistribution):
    """A deterministic distribution; its actions have probability 1."""

    certain: Tensor

    @override(TorchMultiDistribution)
    def logp(self, value: Any) -> Tensor:
        """Zeros (B, T)."""
        return self.certain
