"""What connectors of a training make of observations, as plain data and for many episodes at once.

Each piece takes the place of a connector piece of RLlib's or of the plug-in's, whose numbers it
computes to the last bit (`tests/acting/test_policy.py`). What filters have learned is frozen.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_elmur.model.nested import each_part
from rllib_elmur.model.previous import (
    OBSERVATION,
    PREVIOUS_ACTION,
    PREVIOUS_REWARD,
    action_input,
)


@dataclass
class Step:
    """What is known when the policy is to act.

    Attributes:
        rows: The episodes, (B,).
        observation: Nested arrays (B, ...).
        ended: Whether the episode has ended, so that no action follows, (B,).
        reward: Of the step before, (B,), 0 where there was none; None if nobody told.
        info: Of each episode, as a list of dicts or as vector environments return it.
    """

    rows: np.ndarray
    observation: Any
    ended: np.ndarray
    reward: np.ndarray | None = None
    info: Any = None


class Piece(Protocol):
    """A step from the environment's observations to the policy's."""

    @property
    def reads_reward(self) -> bool:
        """Whether the reward of the step before is needed."""
        ...

    def begin(self, rows: np.ndarray, n_rows: int, action: gym.Space) -> None:
        """Begins episodes in some rows of `n_rows`; others keep what they hold."""
        ...

    def __call__(self, step: Step) -> Any:
        """Returns the policy's observation, (B, ...)."""
        ...

    def end(self, rows: np.ndarray, actions: Any, action_space: gym.Space) -> None:
        """Hears what the policy chose, (B, ...)."""
        ...


class Stateless:
    """A piece that needs no memory of an episode."""

    reads_reward = False

    def begin(self, rows: np.ndarray, n_rows: int, action: gym.Space) -> None:
        """Does nothing."""

    def end(self, rows: np.ndarray, actions: Any, action_space: gym.Space) -> None:
        """Does nothing."""


@dataclass
class Normalize(Stateless):
    """RLlib's `MeanStdFilter` on a Box, with the statistics that it had learned.

    Attributes:
        mean: Subtracted; None: nothing is.
        scale: Divided by, RLlib's small number included; None: nothing is.
        clip: The largest absolute value; None: any.
    """

    mean: np.ndarray | None
    scale: np.ndarray | None
    clip: float | None

    def __call__(self, step: Step) -> Any:
        """Normalizes, (B, ...)."""
        x = step.observation
        if self.mean is not None:
            x = x - self.mean
        if self.scale is not None:
            x = x / self.scale
        if self.clip:
            x = np.clip(x, -self.clip, self.clip)
        return x.astype(step.observation.dtype)


@dataclass
class Flatten(Stateless):
    """RLlib's `FlattenObservations`: all parts side by side, categories one-hot.

    Attributes:
        space: Of what is flattened.
    """

    space: gym.Space

    def __call__(self, step: Step) -> Any:
        """Flattens to (B, n) float32."""
        return np.concatenate(list(_flat_parts(self.space, step.observation)), axis=1)


def _flat_parts(space: gym.Space, value: Any) -> Any:
    match space:
        case spaces.Dict():
            for key in sorted(space.spaces):
                yield from _flat_parts(space[key], value[key])
        case spaces.Tuple():
            for part, inner in zip(space, value, strict=True):
                yield from _flat_parts(part, inner)
        case spaces.Discrete():
            yield _one_hot(value, int(space.n))
        case spaces.MultiDiscrete():
            for i, size in enumerate(space.nvec):
                yield _one_hot(value[:, i], int(size))
        case _:
            yield value.reshape(len(value), -1).astype(np.float32)


def _one_hot(category: np.ndarray, size: int) -> np.ndarray:
    return (category[:, None] == np.arange(size)).astype(np.float32)


@dataclass
class Previous:
    """`PreviousInput` of the plug-in: joins the observation with the step before it.

    Attributes:
        action: Whether the action is wanted.
        reward: Whether the reward is wanted.
    """

    action: bool
    reward: bool
    _n_rows: int = field(default=0, init=False, repr=False)
    _actions: Any = field(default=None, init=False, repr=False)  # as the policy reads them

    @property
    def reads_reward(self) -> bool:
        """Whether the reward of the step before is needed."""
        return self.reward

    def begin(self, rows: np.ndarray, n_rows: int, action: gym.Space) -> None:
        """Forgets the actions of rows."""
        if n_rows > self._n_rows:
            before, kept = self._n_rows, self._actions
            self._n_rows, self._actions = (
                n_rows,
                each_part(
                    lambda x: np.zeros((n_rows, *x.shape), x.dtype), action_input(action, None)
                ),
            )
            if before:
                each_part(lambda new, old: _put(new, old, slice(before)), self._actions, kept)
        each_part(lambda kept: _put(kept, 0, rows), self._actions)

    def __call__(self, step: Step) -> Any:
        """Joins, (B, ...)."""
        joined: dict[str, Any] = {OBSERVATION: step.observation}
        if self.action:
            joined[PREVIOUS_ACTION] = each_part(lambda kept: kept[step.rows], self._actions)
        if self.reward:
            reward = np.zeros(len(step.rows)) if step.reward is None else step.reward
            joined[PREVIOUS_REWARD] = reward.astype(np.float32)
        return joined

    def end(self, rows: np.ndarray, actions: Any, action_space: gym.Space) -> None:
        """Keeps what was chosen."""
        chosen = action_input(action_space, actions)
        each_part(lambda kept, new: _put(kept, new, rows), self._actions, chosen)


def _put(array: np.ndarray, values: Any, rows: Any) -> None:
    array[rows] = values
