"""Records the time steps of a vector environment by column, and hands them to episodes."""

import time
from typing import Any

import numpy as np
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.spaces.space_utils import batch, unbatch

from rllib_elmur.plugin.columns import each_leaf
from rllib_elmur.plugin.rllib_internals import buffer_items, note_times, set_buffer_items
from rllib_elmur.plugin.snapshots import snapshot_column


class Recorder:
    """Records the steps of a rollout fragment in arrays of shape (time, environment, ...).

    RLlib adds each time step of each environment to an episode, and stacks all steps of an episode
    again when it is handed on. Here an episode gets all of its steps at once, when the episode or
    the fragment ends.

    Args:
        n_envs: Environments B.
        n_steps: Time steps to expect; more are taken if they come.
    """

    def __init__(self, n_envs: int, n_steps: int):
        self._capacity = max(n_steps, 1)
        self._columns: dict[str, Any] = {}
        self._infos: list[list[dict[str, Any]]] = []
        self._began = time.perf_counter()
        self._first = np.zeros(n_envs, np.int64)  # where each environment's episode goes on
        self.n_steps = 0

    def add(self, infos: list[dict[str, Any]], columns: dict[str, Any]) -> None:
        """Adds a time step: columns are arrays (B, ...), nested as spaces are, or lists of B."""
        self._infos.append(infos)
        if self.n_steps == self._capacity or not self._columns:
            self._grow(columns)
        for name, column in columns.items():
            each_leaf(self._put, self._columns[name], column)
        self.n_steps += 1

    def begin(self, env_index: int) -> None:
        """Notes that an environment's next episode begins with the next time step."""
        self._first[env_index] = self.n_steps

    def hand_over(self, episode: SingleAgentEpisode, env_index: int) -> None:
        """Adds to an episode its steps since the last call, or since its start, as arrays."""
        steps = slice(self._first[env_index], self.n_steps)
        self._first[env_index] = self.n_steps
        n_steps = steps.stop - steps.start
        if n_steps:
            columns = {
                name: each_leaf(lambda x: x[steps, env_index].copy(), column)
                for name, column in self._columns.items()
            }
            _extend(episode.observations, columns.pop(Columns.OBS))
            _extend(episode.actions, columns.pop(Columns.ACTIONS))
            _extend(episode.rewards, columns.pop(Columns.REWARDS))
            episode.infos.extend([infos[env_index] for infos in self._infos[steps]])
            episode.is_terminated = bool(columns.pop(Columns.TERMINATEDS)[-1])
            episode.is_truncated = bool(columns.pop(Columns.TRUNCATEDS)[-1])
            for name, column in columns.items():
                buffer = episode.extra_model_outputs.setdefault(name, InfiniteLookbackBuffer())
                _extend(buffer, column)
            episode.t += n_steps
            note_times(episode, self._began, time.perf_counter())

    def _put(self, array: np.ndarray, value: np.ndarray) -> None:
        array[self.n_steps] = value

    def _grow(self, columns: dict[str, Any]) -> None:
        if self._columns:
            self._columns = tree.map_structure(
                lambda x: np.concatenate([x, np.empty_like(x)]), self._columns
            )
            self._capacity *= 2
        else:
            self._columns = tree.map_structure(
                lambda x: np.empty((self._capacity, *x.shape), x.dtype), columns
            )


def item(column: Any, i: int) -> Any:
    """Returns item i of a (nested) column."""
    return each_leaf(lambda x: x[i], column)


def cut(episode: SingleAgentEpisode, lookback: int) -> SingleAgentEpisode:
    """Cuts an episode that holds arrays; the continuation holds lists, to which RLlib can add."""
    continuation = episode.cut(len_lookback_buffer=lookback)
    buffers = [continuation.observations, continuation.actions, continuation.rewards]
    for buffer in [*buffers, *continuation.extra_model_outputs.values()]:
        data, is_array = buffer_items(buffer)
        if is_array:
            is_object = isinstance(data, np.ndarray) and data.dtype == object
            items = snapshot_column(list(data)) if is_object else list(unbatch(data))
            set_buffer_items(buffer, items, is_array=False)
    return continuation


def _extend(buffer: InfiniteLookbackBuffer, column: Any) -> None:
    """Adds a column (steps, ...) to the items of an episode's buffer."""
    items, _ = buffer_items(buffer)
    if isinstance(items, list) and items:
        column = each_leaf(lambda new, old: np.concatenate([old, new]), column, batch(items))
    set_buffer_items(buffer, column, is_array=True)
