"""Rows of a train batch of agents whose modules store STATE_OUT at each step, or have no state."""

from collections import Counter
from typing import Any

import numpy as np
import tree
from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
)
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.learner import AddColumnsFromEpisodesToTrainBatch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.numpy import convert_to_numpy

from rllib_elmur.plugin.columns import key_of_agent


class DenseRows:
    """Lets RLlib's pieces make the rows, for a part of the agents, and finds the states itself.

    RLlib looks for the state of an agent's first row in the step before its fragment, and raises
    IndexError where an agent has waited since a time that the fragment does not hold. Here such a
    row is masked out of the loss.
    """

    def __init__(self) -> None:
        self._pieces: list[ConnectorV2] = [
            AddObservationsFromEpisodesToBatch(as_learner_connector=True),
            AddColumnsFromEpisodesToTrainBatch(),
            AddTimeDimToBatchAndZeroPad(as_learner_connector=True),
        ]

    def __call__(
        self,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: list[Any],
        kwargs: dict[str, Any],
    ) -> tuple[dict[str, Any], Counter[Any]]:
        """Makes the batch of some agents' episodes; counts the masked steps by module."""
        ids = {episode.module_id for episode in episodes}
        # Keys of columns are episode, agent and module.
        made = {
            name: {key: items for key, items in column.items() if key[2] in ids}
            for name, column in batch.items()
        }
        made, masked = {name: column for name, column in made.items() if column}, Counter()
        if not episodes:
            return made, masked
        for piece in self._pieces:
            made = piece(rl_module=rl_module, batch=made, episodes=episodes, **kwargs)
        for episode in episodes:
            module = rl_module[episode.module_id].unwrapped()
            if module.is_stateful():
                states, is_known = _states(module, episode)
                ConnectorV2.add_n_batch_items(
                    made, Columns.STATE_IN, states, len(tree.flatten(states)[0]), episode
                )
                if not is_known:
                    rows = made[Columns.LOSS_MASK][key_of_agent(episode)]
                    masked[episode.module_id] += int(np.sum(rows[0]))
                    rows[0] = np.zeros_like(rows[0])
        return made, masked


def _states(module: Any, episode: SingleAgentEpisode) -> tuple[Any, bool]:
    """The state in which each row of an episode begins, and whether the first one's is known."""
    size = module.model_config["max_seq_len"]
    initial = tree.map_structure(np.asarray, convert_to_numpy(module.get_initial_state()))
    if Columns.STATE_OUT not in episode.extra_model_outputs:
        n_rows = -(-len(episode) // size)
        return tree.map_structure(lambda x: np.repeat(x[None], n_rows, 0), initial), True
    is_known = episode.t_started == 0 or episode.observations.lookback > 0
    first = initial
    if episode.t_started and is_known:
        first = episode.get_extra_model_outputs(Columns.STATE_OUT, -1, neg_index_as_lookback=True)
    states = episode.get_extra_model_outputs(Columns.STATE_OUT)
    begins = tree.map_structure(
        lambda x, y: np.concatenate([x[None], y[:-1]])[::size], first, states
    )
    return begins, is_known
