"""Connector pieces of the sparse state, which stores no STATE_OUT with each step.

RLlib stores STATE_OUT at every time step and un-batches and re-batches all columns on the way from
module to environment and back. Here the state stays in one `LiveBatch`, and a snapshot is taken
where a row of a train batch begins, every `max_seq_len` steps of a rollout fragment.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.module_to_env import GetActions
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.annotations import override
from ray.rllib.utils.spaces.space_utils import batch as stack
from ray.rllib.utils.spaces.space_utils import unbatch
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from torch import Tensor

from rllib_elmur.model.bounds import to_bounds
from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.plugin.columns import LIVE_BATCH, each_leaf, stacked, widened
from rllib_elmur.plugin.live_batches import KeptLiveBatch, live_batch
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.rllib_internals import note_time_axis, owners
from rllib_elmur.plugin.snapshots import SNAPSHOTS, Snapshots, pack_rows, snapshot_column

_NARROWED = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}


class BatchToModule(ConnectorV2):
    """Env-to-module piece: makes the module's batch of observations and the live batch.

    It takes the place of RLlib's default pieces, AddObservationsFromEpisodesToBatch to
    NumpyToTensor.
    """

    device: Any = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._kept = KeptLiveBatch()

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Builds the module's input of shape (B, T = 1, ...); row i is episode i."""
        columns = stacked(batch)
        infos = columns.pop(Columns.INFOS, None)
        if Columns.OBS not in columns:
            columns[Columns.OBS] = stack([episode.get_observations(-1) for episode in episodes])
        shared_data = kwargs["shared_data"]
        ids = tuple(episode.id_ for episode in episodes)
        # Pieces of the user's behind the module find the batch as RLlib's pieces leave it.
        note_time_axis(shared_data, list(ids))
        steps = np.fromiter((episode.t for episode in episodes), np.int64, len(episodes))
        self._kept.hand_on(ids, steps, shared_data)
        acting = np.array([not episode.is_done for episode in episodes])
        module = cast("MemoryModule", rl_module)
        to_module = self.batch(module, columns, steps, acting, shared_data)
        self._kept.keep(ids, shared_data)
        return to_module if infos is None else {**to_module, Columns.INFOS: infos}

    def batch(
        self,
        module: MemoryModule,
        columns: dict[str, Any],
        steps: np.ndarray,
        acting: np.ndarray,
        shared_data: dict[str, Any],
    ) -> dict[str, Any]:
        """Makes the module's input.

        Args:
            module: The module.
            columns: Arrays (B, ...), observations among them.
            steps: Time steps that each episode has taken, (B,).
            acting: Whether each episode goes on, (B,); the others are reset in the next step.
            shared_data: The runner's data, which hold the live batch.

        Raises:
            ValueError: If an episode goes on and no action is allowed.
        """
        module.mask.require_allowed(columns[Columns.OBS], acting)
        to_module = {name: each_leaf(self._to_tensor, column) for name, column in columns.items()}
        to_module[LIVE_BATCH] = live_batch(module, steps, shared_data)
        return to_module

    def _to_tensor(self, x: np.ndarray) -> Any:
        """Makes a tensor (B, T = 1, ...) of an array (B, ...), as RLlib's function does."""
        x = x[:, None]
        if x.dtype == np.float32 and x.flags.writeable:
            return torch.from_numpy(x).to(self.device)  # that function takes ten times as long
        return convert_to_torch_tensor(x, device=self.device)


class ActionsToEnv(ConnectorV2):
    """Module-to-env piece that makes actions and brings them to the bounds of the environments.

    It takes the place of all of RLlib's default pieces. Subclasses make the columns of one agent,
    or of several.

    Args:
        input_observation_space: RLlib's.
        input_action_space: RLlib's; of several agents a Dict.
        normalize_actions: RLlib's flag.
        clip_actions: RLlib's flag.
        **kwargs: RLlib's.
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
        self._get_actions = GetActions()
        self._flags = normalize_actions, clip_actions
        kwargs |= {"normalize_actions": normalize_actions, "clip_actions": clip_actions}
        # RLlib asks for the action space, and so for its bounds, in here.
        super().__init__(input_observation_space, input_action_space, **kwargs)


class BatchToEnv(ActionsToEnv):
    """Makes actions for the environments and columns for the episodes, of one agent each."""

    _to_bounds: Callable[[Any], Any] | None = None

    @override(ConnectorV2)
    def recompute_output_action_space(self, input_observation_space: Any, input_action_space: Any):
        """Returns the same action space, and notes its bounds."""
        self._to_bounds = to_bounds(input_action_space, *self._flags)
        return input_action_space

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Makes columns that the env runner indexes by environment."""
        to_env = self.arrays(rl_module, batch, episodes, kwargs["explore"])
        for name, column in to_env.items():
            if not isinstance(column, np.ndarray) and not name.startswith(Columns.ACTIONS):
                to_env[name] = unbatch(column)
        module, live = cast("MemoryModule", rl_module), kwargs["shared_data"][LIVE_BATCH]
        to_env[SNAPSHOTS] = snapshot_column(snapshots_of(module, live, *clocks_of(episodes)))
        return to_env

    @torch.inference_mode()
    def arrays(
        self, module: RLModule, outputs: dict[str, Any], episodes: list[Any], explore: bool
    ) -> dict[str, Any]:
        """Makes arrays (B, ...) of the module's outputs for one time step, and of its actions."""
        outputs = self._get_actions(
            rl_module=module, batch=outputs, episodes=episodes, explore=explore
        )
        outputs = {name: each_leaf(_last_step, column) for name, column in outputs.items()}
        if self._to_bounds is not None:
            outputs[Columns.ACTIONS_FOR_ENV] = self._to_bounds(outputs[Columns.ACTIONS])
        return outputs


class AddSnapshots(ConnectorV2):
    """Module-to-env piece: adds the snapshots alone, between RLlib's pieces and the user's."""

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Adds a column, keyed by episode as RLlib's are at this place."""
        shared_data = kwargs["shared_data"]
        module, live = cast("MemoryModule", rl_module), shared_data[LIVE_BATCH]
        column = snapshot_column(snapshots_of(module, live, *clocks_of(episodes)))
        items = zip(owners(shared_data), column, strict=True)
        batch[SNAPSHOTS] = {(id_,): [item] for id_, item in items}
        return batch


def _last_step(x: Tensor | np.ndarray) -> np.ndarray:
    """Returns the only time step of (B, T = 1, ...), with numbers narrowed as RLlib does."""
    return narrowed(x)[:, 0]


def narrowed(x: Tensor | np.ndarray) -> np.ndarray:
    """Returns an array with numbers narrowed as RLlib does."""
    x = widened(x).numpy(force=True) if isinstance(x, Tensor) else x
    return x.astype(_NARROWED.get(x.dtype, x.dtype), copy=False)


def clocks_of(episodes: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps of each episode (-1 before its start), and those of its fragment."""
    steps = [episode.t if episode.is_reset else -1 for episode in episodes]
    return np.array(steps), np.array([len(episode) for episode in episodes])


def snapshots_of(
    module: MemoryModule, live: LiveBatch, steps: np.ndarray, lengths: np.ndarray
) -> list[Snapshots | None]:
    """Makes what is stored with the next time step of each episode.

    Args:
        module: The module.
        live: The episodes' states, which have just taken that step.
        steps: Time steps that each episode has taken before, (B,); negative if it takes none now,
            because its environment is being reset.
        lengths: The same, counted from the beginning of the rollout fragment, (B,).
    """
    column: list[Snapshots | None] = [None] * len(steps)
    # A fragment's first row begins before its first step, others (or a bootstrap value) after one.
    first = ((lengths == 0) & (steps > 0)).nonzero()[0]
    last = (((lengths + 1) % module.model_config["max_seq_len"] == 0) & (steps >= 0)).nonzero()[0]
    if len(first):
        for i, state in zip(first, pack_rows(live.state_before(first), live.elmur), strict=True):
            column[i] = Snapshots(before=state)
    if len(last):
        for i, state in zip(last, pack_rows(live.state(last), live.elmur), strict=True):
            column[i] = column[i] or Snapshots()
            column[i].after = state
    return column
