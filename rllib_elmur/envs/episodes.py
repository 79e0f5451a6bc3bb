"""Episodes side by side, what comes after them, and how they look."""

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from rllib_elmur.envs import render, rule
from rllib_elmur.envs.random_numbers import episode_seeds
from rllib_elmur.envs.task import TMaze

_SEED_BITS = 2**64 - 1


class Episodes:
    """N episodes of a task and the seeds of those that come after them.

    Args:
        task: What is played.
        num_envs: N.
    """

    def __init__(self, task: TMaze, num_envs: int):
        self.task = task
        self._env_seed = np.zeros(num_envs, dtype=np.uint64)
        self._number = np.zeros(num_envs, dtype=np.int64)
        self._state: rule.EpisodeState | None = None

    @property
    def state(self) -> rule.EpisodeState:
        """Where the episodes stand."""
        if self._state is None:
            raise ResetNeeded("call reset() before step() or render()")
        return self._state

    @state.setter
    def state(self, state: rule.EpisodeState) -> None:
        self._state = state

    def seed(self, row: int, seed: int) -> None:
        """Makes the next episode of a row the first one of a seed."""
        self._env_seed[row] = seed & _SEED_BITS
        self._number[row] = -1

    def start(self, rows: NDArray[np.integer], script: NDArray[np.float32] | None = None) -> None:
        """Starts the next episode in these rows, or one that is scripted in all of them."""
        self._number[rows] += 1
        fresh = self.task.start(episode_seeds(self._env_seed[rows], self._number[rows]), script)
        if len(rows) == len(self._number):
            self._state = fresh
        else:
            self._state = rule.replace_episodes(self.state, rows, fresh)

    def render(self, row: int, mode: str | None) -> Any:
        """A text, a picture, or None without a mode."""
        if mode is None:
            return None
        picture = render.text if mode == "ansi" else render.pixels
        return picture(self.task.view(self.state, row))
