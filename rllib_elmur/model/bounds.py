"""From a policy's actions to the bounds of the environment's, as RLlib brings them there."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_elmur.model.nested import spaces_of


def to_bounds(space: gym.Space, normalize: bool, clip: bool) -> Callable[[Any], Any] | None:
    """Makes the function from a policy's actions (B, ...) to those of the environments.

    Args:
        space: Of one action.
        normalize: RLlib's `normalize_actions`: a policy's Box actions are those of [-1, 1].
        clip: RLlib's `clip_actions`.

    Returns:
        None if both are the same.
    """
    has_bounds = any(isinstance(part, spaces.Box) for _, part in spaces_of(space))
    if not has_bounds or not (normalize or clip):
        return None
    return partial(_each_box, _stretched if normalize else _clipped, space)


def _each_box(put: Callable[[Any, spaces.Box], Any], space: gym.Space, actions: Any) -> Any:
    match space:
        case spaces.Dict():
            return {key: _each_box(put, part, actions[key]) for key, part in space.items()}
        case spaces.Tuple():
            return tuple(_each_box(put, *parts) for parts in zip(space, actions, strict=True))
        case spaces.Box():
            return put(actions, space)
    return actions


def _stretched(actions: Any, space: spaces.Box) -> Any:
    if not (np.all(space.bounded_below) and np.all(space.bounded_above)):
        return actions
    if np.issubdtype(space.dtype, np.integer):
        return space.low + actions
    return _clipped(space.low + (actions + 1.0) * (space.high - space.low) / 2.0, space)


def _clipped(actions: Any, space: spaces.Box) -> Any:
    return np.clip(actions, space.low, space.high)
