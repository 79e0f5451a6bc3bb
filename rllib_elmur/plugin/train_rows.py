"""Makes the rows of a train batch, each with the state in which the row begins."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import tree
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.spaces.space_utils import BatchedNdArray
from ray.rllib.utils.spaces.space_utils import batch as stack

from rllib_elmur.plugin.columns import each_leaf, stacked
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.rllib_internals import connector_builders, note_padding
from rllib_elmur.plugin.snapshots import SNAPSHOTS, unpack_rows
from rllib_elmur.plugin.user_connectors import pieces_of

MASKED_STEPS = "num_env_steps_masked_without_state"


class TrainRows(ConnectorV2):
    """Learner piece: makes the rows of a train batch, each with the state in which it begins.

    It does the work of RLlib's default pieces from AddObservationsFromEpisodesToBatch to
    AddStatesFromEpisodesToBatch, by column and not by item, with snapshots in place of STATE_OUT.
    A row whose state is not known (RLlib slices episodes for several learners) is masked out of the
    loss, and its time steps are counted in the metric `MASKED_STEPS`. Episodes that have RLlib's
    STATE_OUT at each step are left to RLlib's own pieces.
    """

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Adds all columns, in rows of `max_seq_len` steps padded with zeros."""
        if isinstance(episodes[0], MultiAgentEpisode):
            return batch
        if all(Columns.STATE_OUT in episode.extra_model_outputs for episode in episodes):
            return batch
        module = _module_of(rl_module)
        rows = RowLayout([len(episode) for episode in episodes], module.model_config["max_seq_len"])
        columns = _columns(episodes)
        # What a piece before this one has added stands.
        columns.update(_require_each_step(stacked(batch), rows.n_steps))
        columns.setdefault(Columns.LOSS_MASK, np.ones(rows.n_steps, bool))
        infos = columns.pop(Columns.INFOS, None)
        columns = {name: each_leaf(rows.pad, column) for name, column in columns.items()}
        snapshots, known = _states_of_rows(episodes, rows)
        masked = _mask_rows(columns[Columns.LOSS_MASK], ~known)
        metrics = kwargs.get("metrics")
        if metrics is not None:
            metrics.log_value((DEFAULT_MODULE_ID, MASKED_STEPS), masked, reduce="sum")
        columns[Columns.STATE_IN] = unpack_rows(snapshots, module.network.elmur)
        columns[Columns.SEQ_LENS] = rows.row_lengths
        _put_whole(batch, columns, infos, (episodes[0].id_,))
        note_padding(kwargs["shared_data"], DEFAULT_MODULE_ID)
        return batch


def _module_of(rl_module: RLModule) -> MemoryModule:
    """Returns the learner's only module, or a single one that is handed in."""
    if isinstance(rl_module, MultiRLModule):
        rl_module = rl_module[DEFAULT_MODULE_ID].unwrapped()
    return cast("MemoryModule", rl_module)


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


def _states_of_rows(
    episodes: list[Any], rows: "RowLayout"
) -> tuple[list[bytes | None], np.ndarray]:
    """Returns each row's snapshot and whether its state is known; drops the snapshots' column."""
    snapshots, known = [], []
    for episode, length in zip(episodes, rows.lengths, strict=True):
        for begin in range(0, length, rows.size):
            snapshot, is_known = state_of_row(episode, begin)
            snapshots.append(snapshot)
            known.append(is_known)
        episode.extra_model_outputs.pop(SNAPSHOTS, None)  # no column of the train batch
    return snapshots, np.array(known)


def _mask_rows(mask: np.ndarray, rows: np.ndarray) -> int:
    """Masks rows (B,) out of a loss mask (B, T), in place; returns how many steps that are."""
    masked = int(mask[rows].sum())
    mask[rows] = False
    return masked


def _put_whole(batch: dict[str, Any], columns: dict[str, Any], infos: Any, key: Any) -> None:
    """Puts whole columns into a batch, each as one item of the first episode."""
    batch.clear()
    for name, column in columns.items():
        batch[name] = {key: [tree.map_structure(BatchedNdArray, column)]}
    if infos is not None:
        batch[Columns.INFOS] = {key: infos}  # stays a list


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
        # An episode's rows are adjacent: its steps are shifted as a whole.
        shift = first_row * size - first_step
        self._place = np.arange(self.n_steps) + np.repeat(shift, lengths)
        self.row_lengths = np.bincount(self._place // size, minlength=self.n_rows)

    def pad(self, column: np.ndarray) -> np.ndarray:
        """Lays steps (n_steps, ...) into rows (n_rows, size, ...), padded with zeros."""
        rows = np.zeros((self.n_rows * self.size, *column.shape[1:]), column.dtype)
        rows[self._place] = column
        return rows.reshape(self.n_rows, self.size, *column.shape[1:])


@dataclass(frozen=True)
class LearnerConnectorBuilder:
    """Builds the learner pieces, for `config.learners(learner_connector=...)`.

    Attributes:
        users: The builder that the config had before; its pieces come first.
    """

    users: Any = None

    def __call__(self, *args: Any) -> list[ConnectorV2]:
        """Builds the pieces from RLlib's spaces."""
        return [*pieces_of(self.users, *args), TrainRows()]


def reads_snapshots(config: Any) -> bool:
    """Whether the learner connector of an algorithm's config is that of `use_elmur`."""
    return isinstance(connector_builders(config)[1], LearnerConnectorBuilder)


def with_snapshots(users: Any) -> LearnerConnectorBuilder:
    """Makes the learner-connector builder that reads snapshots.

    Args:
        users: The builder that the algorithm's config holds, or None.
    """
    return users if isinstance(users, LearnerConnectorBuilder) else LearnerConnectorBuilder(users)


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


def _only_last(flag: bool, length: int) -> np.ndarray:
    flags = np.zeros(length, bool)
    flags[-1:] = flag
    return flags


def _concatenate(parts: list[Any]) -> Any:
    """Joins parts of several steps, arrays or lists of (nested) items, to one (nested) array."""
    arrays = [stack(part) if isinstance(part, list) else part for part in parts]
    return tree.map_structure(lambda *leaves: np.concatenate(leaves), *arrays)
