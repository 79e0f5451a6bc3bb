"""From what the policy's head says to actions, and from these to what an environment takes.

The distributions are RLlib's, in NumPy: those of the plug-in are needed for training.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_elmur.model.bounds import to_bounds
from rllib_elmur.model.nested import spaces_of

Seed = int | Sequence[int] | None


class Actions:
    """The actions of a space.

    Args:
        space: Of one action.
        normalize: RLlib's `normalize_actions`: a policy's Box actions are those of [-1, 1].
        clip: RLlib's `clip_actions`.
        seed: Of what is drawn.
    """

    def __init__(self, space: gym.Space, normalize: bool, clip: bool, seed: Seed = None):
        self.space, self.normalize, self.clip = space, normalize, clip
        self._to_bounds = to_bounds(space, normalize, clip)
        self._parts = [part for _, part in spaces_of(space)]
        self._random = np.random.default_rng(seed)

    @property
    def n_inputs(self) -> int:
        """Numbers that the policy's head says of an action."""
        return sum(map(_n_inputs, self._parts))

    @cached_property
    def _inputs_of(self) -> list[tuple[gym.Space, slice]]:
        """Each part of the space, and where its inputs stand."""
        ends = np.cumsum([0, *map(_n_inputs, self._parts)]).tolist()
        return [(part, slice(*at)) for part, at in zip(self._parts, pairwise(ends), strict=True)]

    def draw(self, inputs: np.ndarray, explore: bool) -> Any:
        """Draws actions (B, ...), the likeliest ones unless `explore`, from inputs (B, n)."""
        random = self._random if explore else None
        drawn = (_draw(part, inputs[..., at], random) for part, at in self._inputs_of)
        return _nested(self.space, drawn)

    def for_env(self, actions: Any) -> Any:
        """Brings a policy's actions (B, ...) to the bounds of the environment's."""
        return actions if self._to_bounds is None else self._to_bounds(actions)


def _n_inputs(space: gym.Space) -> int:
    match space:
        case spaces.Discrete():
            return int(space.n)
        case spaces.MultiDiscrete():
            return int(space.nvec.sum())
        case spaces.Box():
            return 2 * int(np.prod(space.shape))
    raise ValueError(f"The action space {space} is not supported.")


def _draw(space: gym.Space, inputs: np.ndarray, random: np.random.Generator | None) -> np.ndarray:
    match space:
        case spaces.Discrete():
            return _categories(inputs, random)
        case spaces.MultiDiscrete():
            parts = np.split(inputs, np.cumsum(space.nvec)[:-1], axis=-1)
            return np.stack([_categories(part, random) for part in parts], axis=-1)
    mean, log_std = np.split(inputs, 2, axis=-1)
    if random is None:
        return mean
    return mean + np.exp(log_std) * random.standard_normal(mean.shape, mean.dtype)


def _categories(logits: np.ndarray, random: np.random.Generator | None) -> np.ndarray:
    # The largest of logits with Gumbel noise is a draw of their distribution.
    return (logits if random is None else logits + random.gumbel(size=logits.shape)).argmax(-1)


def _nested(space: gym.Space, parts: Any) -> Any:
    """Parts in the order of `spaces_of`, nested as the space is."""
    if isinstance(space, spaces.Dict):
        return {key: _nested(space[key], parts) for key in sorted(space.spaces)}
    if isinstance(space, spaces.Tuple):
        return tuple(_nested(part, parts) for part in space)
    return next(parts)
