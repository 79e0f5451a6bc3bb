"""Makes the rows of a train batch, each with the state in which the row begins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import tree
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.spaces.space_utils import BatchedNdArray

from rllib_elmur.plugin.agents.dense_rows import DenseRows
from rllib_elmur.plugin.columns import key_of_agent, stacked
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.module import is_elmur
from rllib_elmur.plugin.rllib_internals import connector_builders, note_padding
from rllib_elmur.plugin.rows import rows_of
from rllib_elmur.plugin.user_connectors import pieces_of

MASKED_STEPS = "num_env_steps_masked_without_state"


class TrainRows(ConnectorV2):
    """Learner piece: makes the rows of a train batch, each with the state in which it begins.

    It does the work of RLlib's default pieces from AddObservationsFromEpisodesToBatch to
    AddStatesFromEpisodesToBatch, by column and not by item, with snapshots in place of STATE_OUT.
    A row whose state is not known (RLlib slices episodes for several learners) is masked out of the
    loss, and its time steps are counted in the metric `MASKED_STEPS`. Episodes that have RLlib's
    STATE_OUT at each step are left to RLlib's own pieces.

    Args:
        whole_episodes: As for `rows_of`.
    """

    def __init__(self, *spaces: Any, whole_episodes: bool = False, **kwargs: Any):
        super().__init__(*spaces, **kwargs)
        self._dense_rows, self._whole_episodes = DenseRows(), whole_episodes

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Adds all columns, in rows of `max_seq_len` steps padded with zeros."""
        if isinstance(episodes[0], MultiAgentEpisode):
            return self._of_agents(rl_module, batch, episodes, kwargs)
        if all(Columns.STATE_OUT in episode.extra_model_outputs for episode in episodes):
            return batch
        columns, masked = rows_of(
            _single_module(rl_module), episodes, stacked(batch), self._whole_episodes
        )
        batch.clear()
        _put_whole(batch, columns, (episodes[0].id_,))
        _note(DEFAULT_MODULE_ID, masked, kwargs)
        return batch

    def _of_agents(
        self, rl_module: Any, batch: dict[str, Any], episodes: list[Any], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Does it for each module with snapshots; lets RLlib's pieces do it for the others."""
        of_modules: dict[Any, list[Any]] = {}
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            of_modules.setdefault(episode.module_id, []).append(episode)
        ours = {
            module_id: of_module
            for module_id, of_module in of_modules.items()
            if is_elmur(type(rl_module[module_id].unwrapped()))
            and not all(Columns.STATE_OUT in e.extra_model_outputs for e in of_module)
        }
        others = [e for id_, of_module in of_modules.items() if id_ not in ours for e in of_module]
        made, masked_of = self._dense_rows(rl_module, batch, others, kwargs)
        for module_id, masked in masked_of.items():
            _note(module_id, masked, kwargs)
        for module_id, of_module in ours.items():
            keys = [key_of_agent(episode) for episode in of_module]
            given = {
                name: [item for key in keys for item in column[key]]
                for name, column in batch.items()
                if keys[0] in column
            }
            module = rl_module[module_id].unwrapped()
            columns, masked = rows_of(module, of_module, stacked(given))
            _put_whole(made, columns, keys[0])
            _note(module_id, masked, kwargs)
        return made


def _single_module(rl_module: RLModule) -> MemoryModule:
    """Returns the learner's only module, or a single one that is handed in."""
    if isinstance(rl_module, MultiRLModule):
        rl_module = rl_module[DEFAULT_MODULE_ID].unwrapped()
    return cast("MemoryModule", rl_module)


def _put_whole(batch: dict[str, Any], columns: dict[str, Any], key: Any) -> None:
    """Puts whole columns into a batch, each as one item of a module's first episode."""
    for name, column in columns.items():
        whole = [tree.map_structure(BatchedNdArray, column)]
        batch.setdefault(name, {})[key] = column if name == Columns.INFOS else whole


def _note(module_id: Any, masked: int, kwargs: dict[str, Any]) -> None:
    """Counts the masked steps of a module, and tells RLlib that its rows are padded."""
    if kwargs.get("metrics") is not None:
        kwargs["metrics"].log_value((module_id, MASKED_STEPS), masked, reduce="sum")
    note_padding(kwargs["shared_data"], module_id)


@dataclass(frozen=True)
class LearnerConnectorBuilder:
    """Builds the learner pieces, for `config.learners(learner_connector=...)`.

    Attributes:
        users: The builder that the config had before; its pieces come first.
        recorded: What says of which space recorded observations are; None: none are recorded.
    """

    users: Any = None
    recorded: Callable[[], ConnectorV2] | None = None

    def __call__(self, *args: Any) -> list[ConnectorV2]:
        """Builds the pieces from RLlib's spaces."""
        first = [] if self.recorded is None else [self.recorded()]
        rows = TrainRows(whole_episodes=self.recorded is not None)
        return [*first, *pieces_of(self.users, *args), rows]


def reads_snapshots(config: Any) -> bool:
    """Whether the learner connector of an algorithm's config is that of `use_elmur`."""
    return isinstance(connector_builders(config)[1], LearnerConnectorBuilder)


def with_snapshots(
    users: Any, recorded: Callable[[], ConnectorV2] | None = None
) -> LearnerConnectorBuilder:
    """Makes the learner-connector builder that reads snapshots.

    Args:
        users: The builder that the algorithm's config holds, or None.
        recorded: As for `LearnerConnectorBuilder`; rows of recorded episodes stay together.
    """
    users = users.users if isinstance(users, LearnerConnectorBuilder) else users
    return LearnerConnectorBuilder(users, recorded)
