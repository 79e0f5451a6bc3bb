"""Lays the steps of episodes into rows of equal size, each with the state in which it begins."""

from typing import Any

import numpy as np
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.utils.spaces.space_utils import batch as stack

from rllib_elmur.plugin.columns import each_leaf
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.row_chain import ROW_NUMBER
from rllib_elmur.plugin.snapshots import SNAPSHOTS, unpack_rows


def rows_of(
    module: MemoryModule,
    episodes: list[Any],
    given: dict[str, Any],
    whole_episodes: bool = False,
) -> tuple[dict[str, Any], int]:
    """Makes the columns of a train batch, in rows of `max_seq_len` steps padded with zeros.

    Args:
        module: The module.
        episodes: Its episodes, of one agent each; they lose their snapshots.
        given: Columns that stand as they are, an item a step.
        whole_episodes: Whether rows of an episode stay together, as they do in batches of recorded
            episodes. A row of which only the state of an earlier one is known is then run after
            that one, instead of being masked.

    Returns:
        The columns, and how many steps were masked out since the state of their row is not known.
        INFOS stays a list.

    Raises:
        ValueError: If a given column does not hold each step, or a sampled reward is not finite.
    """
    if not whole_episodes:  # imitation alone looks at no reward
        require_finite_rewards(episodes)
    rows = RowLayout([len(episode) for episode in episodes], module.model_config["max_seq_len"])
    columns = _columns(episodes) | _require_each_step(given, rows.n_steps)
    if whole_episodes:  # else RLlib's piece for BC and MARWIL adds it, step by step
        columns[Columns.NEXT_OBS] = _next_observations(episodes)
    columns.setdefault(Columns.LOSS_MASK, np.ones(rows.n_steps, bool))
    infos = columns.pop(Columns.INFOS, None)
    columns = {name: each_leaf(rows.pad, column) for name, column in columns.items()}
    snapshots, known = _states_of_rows(episodes, rows)
    if whole_episodes:
        numbers = columns[ROW_NUMBER] = _row_numbers(known, rows)
        known |= numbers > 0
    masked = _mask_rows(columns[Columns.LOSS_MASK], ~known)
    columns[Columns.STATE_IN] = unpack_rows(snapshots, module.network.elmur)
    columns[Columns.SEQ_LENS] = rows.row_lengths
    if infos is not None:
        columns[Columns.INFOS] = infos
    return columns, masked


def require_finite_rewards(episodes: list[Any]) -> None:
    """Raises a ValueError for a reward that is not finite.

    RLlib sets a gradient that is not finite to 0, with a warning: each batch with such a reward
    would teach nothing.
    """
    for episode in episodes:
        finite = np.isfinite(np.asarray(episode.get_rewards(), np.float64))
        if not finite.all():
            step = int(np.argmin(finite))
            raise ValueError(
                f"The reward of time step {episode.t_started + step} of an episode is "
                f"{episode.get_rewards(step)}: rewards must be finite."
            )


def _require_each_step(columns: dict[str, Any], n_steps: int) -> dict[str, Any]:
    """Returns the columns of a user's learner connector, each of which must hold every time step.

    Raises:
        ValueError: If one does not.
    """
    for name, column in columns.items():
        found = len(tree.flatten(column)[0]) if name != Columns.INFOS else len(column)
        if found != n_steps:
            raise ValueError(
                f"A piece of the learner connector put {found} items into the column {name!r}, and "
                f"the episodes have {n_steps} time steps: it must add one item for each of them."
            )
    return columns


class RowLayout:
    """Lays the steps of episodes, which follow one another, into rows of equal size.

    Args:
        lengths: Steps of each episode.
        size: Steps of a row; an episode's last row may hold fewer.
    """

    def __init__(self, lengths: list[int], size: int):
        self.lengths, self.size, self.n_steps = lengths, size, sum(lengths)
        n_rows = [-(-length // size) for length in lengths]
        self.n_rows = sum(n_rows)
        first_row = np.cumsum([0, *n_rows[:-1]])
        first_step = np.cumsum([0, *lengths[:-1]])
        self.first_rows = np.repeat(first_row, n_rows)  # of the episode of each row
        # An episode's rows are adjacent: its steps are shifted as a whole.
        shift = first_row * size - first_step
        self._place = np.arange(self.n_steps) + np.repeat(shift, lengths)
        self.row_lengths = np.bincount(self._place // size, minlength=self.n_rows)

    def pad(self, column: np.ndarray) -> np.ndarray:
        """Lays steps (n_steps, ...) into rows (n_rows, size, ...), padded with zeros."""
        rows = np.zeros((self.n_rows * self.size, *column.shape[1:]), column.dtype)
        rows[self._place] = column
        return rows.reshape(self.n_rows, self.size, *column.shape[1:])


def state_of_row(episode: Any, begin: int) -> tuple[bytes | None, bool]:
    """Returns the snapshot of the row that begins at a step, and whether its state is known.

    The state of a row without a snapshot is known if it is the initial one.
    """
    column = episode.extra_model_outputs.get(SNAPSHOTS)
    snapshots = None if column is None else column[max(begin - 1, 0)]
    if isinstance(snapshots, np.ndarray):
        snapshots = snapshots[()]
    state = None
    if snapshots is not None:
        state = snapshots.before if begin == 0 else snapshots.after
    return state, state is not None or episode.t_started + begin == 0


def _states_of_rows(episodes: list[Any], rows: RowLayout) -> tuple[list[bytes | None], np.ndarray]:
    """Returns each row's snapshot and whether its state is known; drops the snapshots' column."""
    snapshots, known = [], []
    for episode, length in zip(episodes, rows.lengths, strict=True):
        for begin in range(0, length, rows.size):
            snapshot, is_known = state_of_row(episode, begin)
            snapshots.append(snapshot)
            known.append(is_known)
        episode.extra_model_outputs.pop(SNAPSHOTS, None)  # no column of the train batch
    return snapshots, np.array(known)


def _row_numbers(known: np.ndarray, rows: RowLayout) -> np.ndarray:
    """The column `ROW_NUMBER`: how many rows ago the state of an episode was last known, (B,)."""
    index = np.arange(rows.n_rows)
    latest = np.maximum.accumulate(np.where(known, index, -1))
    return np.where(latest >= rows.first_rows, index - latest, 0)


def _mask_rows(mask: np.ndarray, rows: np.ndarray) -> int:
    """Masks rows (B,) out of a loss mask (B, T), in place; returns how many steps that are."""
    masked = int(mask[rows].sum())
    mask[rows] = False
    return masked


def _columns(episodes: list[Any]) -> dict[str, Any]:
    """Makes the columns of a train batch, (steps of all episodes, ...)."""
    every = [slice(0, len(episode)) for episode in episodes]
    pairs = list(zip(episodes, every, strict=True))
    parts: dict[str, list[Any]] = {
        Columns.OBS: [episode.get_observations(steps) for episode, steps in pairs],
        Columns.ACTIONS: [episode.get_actions(steps) for episode, steps in pairs],
        Columns.REWARDS: [episode.get_rewards(steps) for episode, steps in pairs],
        Columns.TERMINATEDS: [_only_last(e.is_terminated, len(e)) for e in episodes],
        Columns.TRUNCATEDS: [_only_last(e.is_truncated, len(e)) for e in episodes],
    }
    for name in episodes[0].extra_model_outputs:
        if name not in (SNAPSHOTS, Columns.STATE_OUT):
            parts[name] = [e.get_extra_model_outputs(name, steps) for e, steps in pairs]
    return {name: _concatenate(column) for name, column in parts.items()}


def _next_observations(episodes: list[Any]) -> Any:
    """Makes the column of the observations after each step, (steps of all episodes, ...)."""
    return _concatenate([e.get_observations(slice(1, len(e) + 1)) for e in episodes])


def _only_last(flag: bool, length: int) -> np.ndarray:
    flags = np.zeros(length, bool)
    flags[-1:] = flag
    return flags


def _concatenate(parts: list[Any]) -> Any:
    """Joins parts of several steps, arrays or lists of (nested) items, to one (nested) array."""
    arrays = [stack(part) if isinstance(part, list) else part for part in parts]
    return tree.map_structure(lambda *leaves: np.concatenate(leaves), *arrays)
