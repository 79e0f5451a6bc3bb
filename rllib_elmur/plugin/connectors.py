"""Sparse state: episodes run on a live batch, and only rows of a train batch get snapshots of it.

RLlib stores STATE_OUT at every time step and un-batches and re-batches all columns on the way from
module to environment and back. Here the state stays in one `LiveBatch` between steps, and a
snapshot is taken where a row of a train batch begins, which is every `max_seq_len` steps of a
rollout fragment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tree
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.module_to_env import GetActions
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.spaces.space_utils import (
    BatchedNdArray,
    clip_action,
    get_base_struct_from_space,
    unbatch,
    unsquash_action,
)
from ray.rllib.utils.spaces.space_utils import batch as stack
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_elmur.model.live import LiveBatch
from rllib_elmur.plugin.columns import SNAPSHOTS, Snapshots, pack_rows, snapshot_column, unpack_rows

MASKED_STEPS = "num_env_steps_masked_without_state"
_LIVE = "elmur_live_batch"  # in the data that the pipelines of an env runner share


class BatchToModule(ConnectorV2):
    """Env-to-module piece: observations and the live batch as one batch for the module.

    It stands for RLlib's default pieces AddObservationsFromEpisodesToBatch to NumpyToTensor.
    """

    device: Any = None

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Builds the module's input of shape (B, T = 1, ...); row i is episode i."""
        columns = {name: _items(column) for name, column in batch.items()}
        if Columns.OBS not in columns:
            columns[Columns.OBS] = [episode.get_observations(-1) for episode in episodes]
        shared_data = kwargs["shared_data"]
        # Pieces of the user's behind the module find the batch as RLlib's pieces leave it.
        shared_data["memorized_map_structure"] = [episode.id_ for episode in episodes]
        shared_data["_added_single_ts_time_rank"] = True
        columns = {name: stack(items) for name, items in columns.items()}
        steps = np.fromiter((episode.t for episode in episodes), np.int64, len(episodes))
        return self.batch(rl_module, columns, steps, shared_data)

    def batch(
        self, module: Any, columns: dict[str, Any], steps: np.ndarray, shared_data: dict[str, Any]
    ) -> dict[str, Any]:
        """The module's input.

        Args:
            module: The module.
            columns: Arrays (B, ...), observations among them.
            steps: Time steps that each episode has taken, (B,).
            shared_data: The runner's data, which hold the live batch.
        """
        columns = tree.map_structure(lambda x: x[:, None], columns)
        to_module = convert_to_torch_tensor(columns, device=self.device)
        to_module[Columns.STATE_IN] = _live_batch(module, steps, shared_data)
        return to_module


class BatchToEnv(ConnectorV2):
    """Module-to-env piece: actions for the vector environment, columns for the episodes.

    It stands for all of RLlib's default pieces.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        normalize_actions: bool = True,
        clip_actions: bool = False,
        **kwargs: Any,
    ):
        self._struct: Any = None
        self._get_actions = GetActions()
        super().__init__(input_observation_space, input_action_space, **kwargs)
        self._to_bounds: Callable[[Any, Any], Any] | None = None
        if normalize_actions or clip_actions:
            self._to_bounds = unsquash_action if normalize_actions else clip_action

    @override(ConnectorV2)
    def recompute_output_action_space(self, input_observation_space: Any, input_action_space: Any):
        """Actions keep their space."""
        self._struct = get_base_struct_from_space(input_action_space)
        return input_action_space

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Makes columns that the env runner indexes by environment."""
        to_env = self.arrays(rl_module, batch, episodes, kwargs["explore"])
        for name, column in to_env.items():
            if not isinstance(column, np.ndarray) and not name.startswith(Columns.ACTIONS):
                to_env[name] = unbatch(column)
        snapshots = snapshots_of(rl_module, *_clocks(episodes), kwargs["shared_data"])
        to_env[SNAPSHOTS] = snapshot_column(snapshots)
        return to_env

    def arrays(
        self, module: Any, outputs: dict[str, Any], episodes: list[Any], explore: bool
    ) -> dict[str, Any]:
        """What the module returned for one time step, and its actions, as arrays (B, ...)."""
        outputs = self._get_actions(
            rl_module=module, batch=outputs, episodes=episodes, explore=explore
        )
        outputs = tree.map_structure(lambda x: x[:, 0], convert_to_numpy(outputs))
        if self._to_bounds is not None:
            actions = self._to_bounds(outputs[Columns.ACTIONS], self._struct)
            outputs[Columns.ACTIONS_FOR_ENV] = actions
        return outputs


class AddSnapshots(ConnectorV2):
    """Module-to-env piece: the snapshots alone, between RLlib's pieces and the user's."""

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Adds a column, keyed by episode as RLlib's are at this place."""
        shared_data = kwargs["shared_data"]
        column = snapshot_column(snapshots_of(rl_module, *_clocks(episodes), shared_data))
        ids = shared_data["memorized_map_structure"]
        batch[SNAPSHOTS] = {(id_,): [item] for id_, item in zip(ids, column, strict=True)}
        return batch


class TrainRows(ConnectorV2):
    """Learner piece: the rows of a train batch, each with the state in which it begins.

    It does the work of RLlib's default pieces from AddObservationsFromEpisodesToBatch to
    AddStatesFromEpisodesToBatch, by column and not by item, with snapshots in place of STATE_OUT.
    A row whose state is not known (RLlib slices episodes for several learners) is masked out of the
    loss, and its time steps are counted in the metric `MASKED_STEPS`. Episodes that have RLlib's
    STATE_OUT at each step are left to RLlib's own pieces.
    """

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Adds all columns, in rows of `max_seq_len` steps padded with zeros."""
        if isinstance(episodes[0], MultiAgentEpisode):
            return batch
        if all(Columns.STATE_OUT in episode.extra_model_outputs for episode in episodes):
            return batch
        module = rl_module
        if isinstance(rl_module, MultiRLModule):
            module = rl_module[DEFAULT_MODULE_ID].unwrapped()
        rows = RowLayout([len(episode) for episode in episodes], module.model_config["max_seq_len"])
        columns = _columns(episodes)
        # What a piece before this one has added stands.
        columns.update({name: stack(_items(column)) for name, column in batch.items()})
        columns.setdefault(Columns.LOSS_MASK, np.ones(rows.n_steps, bool))
        infos = columns.pop(Columns.INFOS, None)
        columns = {name: tree.map_structure(rows.pad, column) for name, column in columns.items()}

        known, snapshots = [], []
        for episode, length in zip(episodes, rows.lengths, strict=True):
            for begin in range(0, length, rows.size):
                snapshot, is_known = _state_of_row(episode, begin)
                snapshots.append(snapshot)
                known.append(is_known)
            episode.extra_model_outputs.pop(SNAPSHOTS, None)  # no column of the train batch
        unknown = ~np.array(known)
        mask = columns[Columns.LOSS_MASK]
        masked = int(mask[unknown].sum())
        mask[unknown] = False
        metrics = kwargs.get("metrics")
        if metrics is not None:
            metrics.log_value((DEFAULT_MODULE_ID, MASKED_STEPS), masked, reduce="sum")
        elmur = module.network.elmur
        rounded = elmur.config.memory_levels is not None
        columns[Columns.STATE_IN] = unpack_rows(snapshots, elmur.initial_state(), rounded)
        columns[Columns.SEQ_LENS] = rows.row_lengths

        # To RLlib, all is one item of the first episode; the column of infos stays a list.
        key = (episodes[0].id_,)
        batch.clear()
        for name, column in columns.items():
            batch[name] = {key: [tree.map_structure(BatchedNdArray, column)]}
        if infos is not None:
            batch[Columns.INFOS] = {key: infos}
        kwargs["shared_data"][f"_zero_padded_for_mid={DEFAULT_MODULE_ID}"] = True
        return batch


class RowLayout:
    """How the steps of episodes, one behind the other, lie in rows of equal size.

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
        """Steps (n_steps, ...) to rows (n_rows, size, ...), padded with zeros."""
        rows = np.zeros((self.n_rows * self.size, *column.shape[1:]), column.dtype)
        rows[self._place] = column
        return rows.reshape(self.n_rows, self.size, *column.shape[1:])


@dataclass(frozen=True)
class LearnerConnectorBuilder:
    """What `AlgorithmConfig.learners(learner_connector=...)` takes.

    Attributes:
        users: The builder that the config had before; its pieces come first.
    """

    users: Any = None

    def __call__(self, *args: Any) -> list[ConnectorV2]:
        """Builds the pieces from RLlib's spaces."""
        pieces = [] if self.users is None else self.users(*args)
        pieces = list(pieces) if isinstance(pieces, (list, tuple)) else [pieces]
        return [*pieces, TrainRows()]


def with_snapshots(users: Any) -> LearnerConnectorBuilder:
    """The learner-connector builder that understands snapshots.

    Args:
        users: The builder that the algorithm's config holds, or None.
    """
    return users if isinstance(users, LearnerConnectorBuilder) else LearnerConnectorBuilder(users)


def _items(column: Any) -> list[Any]:
    """A column of RLlib's, a list or keyed by episode, as a list."""
    return column if isinstance(column, list) else [i for items in column.values() for i in items]


def _live_batch(module: Any, steps: np.ndarray, shared_data: dict[str, Any]) -> LiveBatch:
    """The live batch of the running episodes, with rows of new episodes at their start."""
    live = shared_data.get(_LIVE)
    if live is None or len(live.clock) != len(steps):
        elmur = module.network.elmur
        live = shared_data[_LIVE] = elmur.live(elmur.initial_state(len(steps)))
    started = (steps == 0).nonzero()[0]
    if len(started):
        live.reset(started)
    if not np.array_equal(live.clock, steps):
        raise RuntimeError(
            f"The episodes stand at time steps {steps.tolist()}, the policy's memory at "
            f"{live.clock.tolist()}: steps were taken without the policy (random_actions=True?). "
            "Let it start new episodes (`sample(force_reset=True)`)."
        )
    return live


def _clocks(episodes: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Time steps of each episode (-1 before its first observation), and those of its fragment."""
    steps = [episode.t if episode.is_reset else -1 for episode in episodes]
    return np.array(steps), np.array([len(episode) for episode in episodes])


def snapshots_of(
    module: Any, steps: np.ndarray, lengths: np.ndarray, shared_data: dict[str, Any]
) -> list[Snapshots | None]:
    """For each episode, what to store with the time step that is about to be added to it.

    Args:
        module: The module; its live batch has just taken that step.
        steps: Time steps that each episode has taken before, (B,); negative if it takes none now,
            because its environment is being reset.
        lengths: The same, counted from the beginning of the rollout fragment, (B,).
        shared_data: The runner's data, which hold the live batch.
    """
    live, rounded = shared_data[_LIVE], module.network.elmur.config.memory_levels is not None
    column: list[Snapshots | None] = [None] * len(steps)
    # The first row of a fragment begins before its first step, each other one after a step; so does
    # the row of a bootstrap value behind the fragment.
    first = ((lengths == 0) & (steps > 0)).nonzero()[0]
    last = (((lengths + 1) % module.model_config["max_seq_len"] == 0) & (steps >= 0)).nonzero()[0]
    if len(first):
        for i, state in zip(first, pack_rows(live.state_before(first), rounded), strict=True):
            column[i] = Snapshots(before=state)
    if len(last):
        for i, state in zip(last, pack_rows(live.state(last), rounded), strict=True):
            column[i] = column[i] or Snapshots()
            column[i].after = state
    return column


def _state_of_row(episode: Any, begin: int) -> tuple[bytes | None, bool]:
    """The snapshot of the row that begins at a step of an episode, and whether its state is known.

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
    """The columns of a train batch, (steps of all episodes, ...)."""
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
    """Parts of several steps each, arrays or lists of (nested) items, as one (nested) array."""
    arrays = [stack(part) if isinstance(part, list) else part for part in parts]
    return tree.map_structure(lambda *leaves: np.concatenate(leaves), *arrays)
