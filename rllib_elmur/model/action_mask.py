"""Forbids actions by a mask that comes with each observation."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rllib_elmur.model.nested import spaces_of, values_of

ACTION_MASK = "action_mask"
# The logit of a forbidden action. Its probability is 0 in every precision, and unlike that of minus
# infinity its log-probability stays a number where a loss multiplies it by a mask of zeros.
_FORBIDDEN = -1e9


class NoMask:
    """Allows every action.

    Attributes:
        space: The observation space.
        path: The keys that lead to a mask; None: there is none.
        rest: The space of what the policy reads: all of the observation.
    """

    path = None

    def __init__(self, space: gym.Space):
        self.space = self.rest = space

    def __call__(self, logits: Tensor, observation: Any) -> Tensor:
        """The logits as they are."""
        return logits

    def require_allowed(self, observation: Any, acting: Any) -> None:
        """Finds nothing that is not allowed."""


class ActionMask:
    """Forbids the actions whose entries in the observation's part `action_mask` are 0.

    Args:
        space: The observation space, a Dict.
        path: The keys that lead to the mask.
        action_space: The policy's action space.
        environment: How an error calls the environment.

    Attributes:
        space: The observation space.
        path: The keys that lead to the mask.
        rest: The space of what the policy reads: the observation without its mask.

    Raises:
        ValueError: If there is no mask, or if its space is not one for these actions.
    """

    def __init__(
        self, space: gym.Space, path: tuple[str, ...], action_space: gym.Space, environment: str
    ):
        wanted, found = _mask_space(action_space), part_at(space, path)
        self.space, self.path, self._environment = space, path, environment
        self._name = "observation" + "".join(f"[{key!r}]" for key in path)
        self._sizes = [size for _, part in spaces_of(action_space) for size in _sizes(part)]
        if found is None:
            raise ValueError(
                f"{ACTION_MASK}=True, but the observation space {space} has no part {ACTION_MASK!r}"
                f": it must be a Dict of observations and their mask, {wanted}."
            )
        if not _fits(found, wanted):
            raise ValueError(
                f"{self._name} has the space {found}: for the actions {action_space} it must be "
                f"{wanted}, or the same of Boxes from 0 to 1."
            )
        self.rest = _without(space, path)

    def __call__(self, logits: Tensor, observation: Any) -> Tensor:
        """Lowers the logits (B, T, n) of forbidden actions, so that none of them is ever drawn."""
        return logits.masked_fill(~self._allowed(observation), _FORBIDDEN)

    def require_allowed(self, observation: Any, acting: Any) -> None:
        """Raises a ValueError if a mask forbids all actions of a choice.

        Args:
            observation: Observations (B, ...) or (B, T, ...), tensors or arrays.
            acting: Those on which the policy acts, (B,) or (B, T): padding and the last observation
                of an episode may forbid everything.
        """
        choices = self._allowed(observation).split(self._sizes, dim=-1)
        some = torch.stack([choice.any(-1) for choice in choices]).all(0)
        bad = ~some & torch.as_tensor(acting, device=some.device).bool()
        if bad.any():
            raise ValueError(
                f"{self._name} forbids every action (row {int(bad.nonzero()[0, 0])} of the batch): "
                f"{self._environment} returned it. At least one entry must be 1 for each action "
                "that is chosen, unless the episode has ended."
            )

    def _allowed(self, observation: Any) -> Tensor:
        """Whether each action is allowed, (..., n)."""
        for key in self.path:
            observation = observation[key]
        parts = [torch.as_tensor(part) for _, part in values_of(observation)]
        allowed = (parts[0] if len(parts) == 1 else torch.cat(parts, -1)) != 0
        if allowed.shape[-1] != sum(self._sizes):
            raise ValueError(
                f"{self._name} has {allowed.shape[-1]} entries: {self._environment} returned it. "
                f"It must have {sum(self._sizes)}, one for each action."
            )
        return allowed


def _mask_space(action_space: gym.Space) -> gym.Space:
    """The space of the mask that fits an action space: nested like it, an entry per category."""
    match action_space:
        case spaces.Discrete() | spaces.MultiDiscrete():
            return spaces.MultiBinary(int(sum(_sizes(action_space))))
        case spaces.Dict():
            return spaces.Dict({key: _mask_space(part) for key, part in action_space.items()})
        case spaces.Tuple():
            return spaces.Tuple([_mask_space(part) for part in action_space])
    raise ValueError(
        f"{ACTION_MASK}=True: actions of the space {action_space} cannot be masked: it must be "
        "Discrete, MultiDiscrete, or a Dict or Tuple of these."
    )


def _sizes(space: Any) -> list[int]:
    """The number of categories of each choice of a Discrete or MultiDiscrete space."""
    return np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec).tolist()


def _fits(found: gym.Space, wanted: gym.Space) -> bool:
    """Whether a space is that of a mask, or the same of Boxes from 0 to 1."""
    match wanted:
        case spaces.Dict():
            return (
                isinstance(found, spaces.Dict)
                and found.keys() == wanted.keys()
                and all(_fits(found[key], part) for key, part in wanted.items())
            )
        case spaces.Tuple():
            return (
                isinstance(found, spaces.Tuple)
                and len(found) == len(wanted)
                and all(map(_fits, found, wanted))
            )
    is_box = isinstance(found, spaces.Box) and (found.low == 0).all() and (found.high == 1).all()
    return (is_box or isinstance(found, spaces.MultiBinary)) and found.shape == wanted.shape


def part_at(space: gym.Space, path: tuple[str, ...]) -> gym.Space | None:
    """The part of a space at the end of some keys; None if there is none."""
    for key in path:
        if not isinstance(space, spaces.Dict) or key not in space.spaces:
            return None
        space = space[key]
    return space


def _without(space: Any, path: tuple[str, ...]) -> spaces.Dict:
    """A Dict space without the part at the end of some keys."""
    key, *deeper = path
    parts = dict(space.items())
    part = parts.pop(key)
    if deeper:
        parts[key] = _without(part, tuple(deeper))
    return spaces.Dict(parts)
