"""Module-to-env pieces of the sparse state, where several agents act."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_elmur.model.bounds import to_bounds
from rllib_elmur.plugin.agents.states import Agent
from rllib_elmur.plugin.columns import LIVE_BATCH, each_leaf
from rllib_elmur.plugin.connectors import ActionsToEnv, narrowed, snapshots_of
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.rllib_internals import owners
from rllib_elmur.plugin.snapshots import SNAPSHOTS, snapshot_column


class AgentsToEnv(ActionsToEnv):
    """Makes the agents' actions and columns for their episodes."""

    _to_bounds: Mapping[Any, Callable[[Any], Any]] = MappingProxyType({})

    @override(ConnectorV2)
    def recompute_output_action_space(self, input_observation_space: Any, input_action_space: Any):
        """Returns the same action spaces, and notes the bounds of each agent's."""
        functions = {
            agent_id: to_bounds(space, *self._flags)
            for agent_id, space in input_action_space.items()
        }
        self._to_bounds = {
            agent_id: function for agent_id, function in functions.items() if function is not None
        }
        return input_action_space

    @override(ConnectorV2)
    @torch.inference_mode()
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Makes columns that the env runner indexes by environment and agent."""
        batch = self._get_actions(
            rl_module=rl_module, batch=batch, episodes=episodes, explore=kwargs["explore"]
        )
        modules, shared_data = cast("Any", rl_module), kwargs["shared_data"]
        index = {episode.id_: i for i, episode in enumerate(episodes)}
        to_env: dict[str, list[dict[Any, Any]]] = {}
        for module_id, agents in owners(shared_data).items():
            module = modules[module_id]
            columns = {
                name: _items(column, module.is_stateful() and name != Columns.STATE_OUT)
                for name, column in batch[module_id].items()
            }
            if isinstance(module, ELMURTorchRLModule):
                columns[SNAPSHOTS] = _snapshots(module, module_id, agents, episodes, shared_data)
            for name, items in columns.items():
                of_envs = to_env.setdefault(name, [{} for _ in episodes])
                for (episode_id, agent_id), item in zip(agents, items, strict=True):
                    of_envs[index[episode_id]][agent_id] = item
        if self._to_bounds:
            to_env[Columns.ACTIONS_FOR_ENV] = [
                {
                    agent_id: self._to_bounds.get(agent_id, _unchanged)(action)
                    for agent_id, action in actions.items()
                }
                for actions in to_env[Columns.ACTIONS]
            ]
        return to_env


class AddAgentSnapshots(ConnectorV2):
    """Module-to-env piece: adds the snapshots alone, between RLlib's pieces and the user's."""

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Adds a column, keyed by episode, agent and module as RLlib's are at this place."""
        modules, shared_data, added = cast("Any", rl_module), kwargs["shared_data"], {}
        for module_id, agents in owners(shared_data).items():
            module = modules[module_id]
            if isinstance(module, ELMURTorchRLModule):
                column = _snapshots(module, module_id, agents, episodes, shared_data)
                for agent, item in zip(agents, column, strict=True):
                    added[*agent, module_id] = [item]
        if added:
            batch[SNAPSHOTS] = added
        return batch


def _items(column: Any, has_time_axis: bool) -> list[Any]:
    """The item of each row of a module's output (B, T = 1, ...) or (B, ...)."""
    column = each_leaf(narrowed, column)
    if has_time_axis:
        column = each_leaf(lambda x: x[:, 0], column)
    return list(column) if isinstance(column, np.ndarray) else unbatch(column)


def _snapshots(
    module: ELMURTorchRLModule,
    module_id: Any,
    agents: list[Agent],
    episodes: list[MultiAgentEpisode],
    shared_data: dict[str, Any],
) -> list[np.ndarray]:
    """What is stored of the state with the next step of each of these agents."""
    by_id = {episode.id_: episode for episode in episodes}
    acting = [by_id[episode_id].agent_episodes[agent_id] for episode_id, agent_id in agents]
    steps = np.array([episode.t for episode in acting])
    lengths = np.array([len(episode) for episode in acting])
    live = shared_data[LIVE_BATCH][module_id].acted(agents[0]).live
    return snapshot_column(snapshots_of(module, live, steps, lengths))


def _unchanged(action: Any) -> Any:
    return action
