"""Env-to-module piece of the sparse state, where several agents act."""

from collections import defaultdict
from typing import Any, cast

import numpy as np
from ray.rllib.connectors.common import AgentToModuleMapping
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.spaces.space_utils import batch as stack
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_elmur.plugin.agents.states import Agent, AgentStates
from rllib_elmur.plugin.columns import LIVE_BATCH, each_leaf, key_of_agent
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.rllib_internals import note_time_axis


class AgentsToModules(AgentToModuleMapping):
    """Env-to-module piece: makes each module's batch of the agents that act next.

    It takes the place of RLlib's default pieces, AddObservationsFromEpisodesToBatch to
    NumpyToTensor; one of them, AgentToModuleMapping, finds the modules' spaces. A module with
    ELMUR's memory gets a live batch, any other what RLlib gives it.
    """

    device: Any = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # Kept from call to call: RLlib's examples of acting with restored pipelines begin with
        # empty shared data at each step.
        self._states: defaultdict[Any, AgentStates] = defaultdict(AgentStates)

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: RLModule, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Builds the input of each module, and notes the agent of each row for pieces behind it."""
        modules, to_modules, rows = cast("Any", rl_module), {}, {}
        shared_data = kwargs["shared_data"]
        shared_data[LIVE_BATCH] = self._states
        for module_id, acting in _agents_to_act(episodes).items():
            module, live = modules[module_id], {}
            agents = list(acting)
            if isinstance(module, ELMURTorchRLModule):
                together = self._states[module_id].acting(
                    module,
                    {agent: episode.t for agent, episode in acting.items()},
                    lambda: _running(episodes),
                )
                agents, live[LIVE_BATCH] = together.agents, together.live
            columns = _columns(batch, [acting[agent] for agent in agents])
            if live:
                module.mask.require_allowed(columns[Columns.OBS], np.ones(len(agents), bool))
            if module.is_stateful():
                columns = {
                    name: each_leaf(lambda x: x[:, None], column)
                    for name, column in columns.items()
                }
                if not live:
                    columns[Columns.STATE_IN] = stack([_state(module, e) for e in acting.values()])
            to_modules[module_id] = convert_to_torch_tensor(columns, device=self.device) | live
            rows[module_id] = agents
        if rows:  # RLlib calls once more for episodes that are over, in which nobody acts
            note_time_axis(shared_data, rows)
        return to_modules


def _agents_to_act(
    episodes: list[MultiAgentEpisode],
) -> dict[Any, dict[Agent, SingleAgentEpisode]]:
    """The agents with a new observation whose episodes go on, by module."""
    found: dict[Any, dict[Agent, SingleAgentEpisode]] = defaultdict(dict)
    for episode in episodes:
        if episode.is_done:
            continue
        for agent_id in episode.get_agents_to_act():
            of_agent = episode.agent_episodes[agent_id]
            found[of_agent.module_id][episode.id_, agent_id] = of_agent
    return found


def _running(episodes: list[MultiAgentEpisode]) -> list[Agent]:
    """All agents whose episodes go on, also those that wait."""
    return [
        (episode.id_, agent_id)
        for episode in episodes
        for agent_id, of_agent in episode.agent_episodes.items()
        if not of_agent.is_done
    ]


def _columns(batch: dict[str, Any], episodes: list[SingleAgentEpisode]) -> dict[str, Any]:
    """Arrays (B, ...) of the agents' newest observations and of what pieces before have added."""
    keys = [key_of_agent(episode) for episode in episodes]
    columns = {
        name: stack([column[key][-1] for key in keys])
        for name, column in batch.items()
        if keys[0] in column
    }
    if Columns.OBS not in columns:
        columns[Columns.OBS] = stack([episode.get_observations(-1) for episode in episodes])
    return columns


def _state(module: Any, episode: SingleAgentEpisode) -> Any:
    """The STATE_IN of an agent whose module is another than ELMUR, as RLlib finds it."""
    if episode.t == 0 or Columns.STATE_OUT not in episode.extra_model_outputs:
        return convert_to_numpy(module.get_initial_state())
    return episode.get_extra_model_outputs(Columns.STATE_OUT, -1)
