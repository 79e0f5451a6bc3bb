"""Carries an agent's last step into the next fragment of its episode, however long ago it was.

RLlib carries what the last `episode_lookback_horizon` env steps hold. An agent that has waited for
longer has no step there, and the learner looks for the STATE_OUT of that step in vain.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from rllib_elmur.plugin.agents.states import Agent
from rllib_elmur.plugin.rllib_internals import buffer_items, set_buffer_items


def episodes_of_agents(
    episodes: Iterable[MultiAgentEpisode | None],
) -> dict[Agent, SingleAgentEpisode]:
    """The episode of each agent in these episodes, which are None before the first reset."""
    return {
        (episode.id_, agent_id): of_agent
        for episode in episodes
        if episode is not None
        for agent_id, of_agent in episode.agent_episodes.items()
    }


def carry_last_steps(
    before: Mapping[Agent, SingleAgentEpisode], episodes: Iterable[MultiAgentEpisode]
) -> None:
    """Gives its last step as a lookback to each agent that stores STATE_OUT and has no lookback.

    Args:
        before: The agents' fragments that were sampled; lists, not arrays.
        episodes: The fragments that continue them.
    """
    for agent, of_agent in episodes_of_agents(episodes).items():
        last = before.get(agent)
        is_cut_off = of_agent.t_started and not of_agent.observations.lookback
        if is_cut_off and last is not None and Columns.STATE_OUT in last.extra_model_outputs:
            _prepend(of_agent, last)


def _prepend(episode: SingleAgentEpisode, last: SingleAgentEpisode) -> None:
    for name in last.extra_model_outputs:
        buffer = episode.extra_model_outputs.setdefault(name, InfiniteLookbackBuffer())
        _put_first(buffer, last.get_extra_model_outputs(name, -1))
    _put_first(episode.observations, last.get_observations(-2))
    _put_first(episode.infos, last.get_infos(-2))
    _put_first(episode.actions, last.get_actions(-1))
    _put_first(episode.rewards, last.get_rewards(-1))


def _put_first(buffer: InfiniteLookbackBuffer, item: Any) -> None:
    items, _ = buffer_items(buffer)
    set_buffer_items(buffer, [item, *items], is_array=False)
    buffer.lookback = 1
