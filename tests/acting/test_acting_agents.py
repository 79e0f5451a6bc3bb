"""Of several agents, each is acted for by its module, behind what its connectors have learned."""

from typing import Any

import pytest
from acting_helpers import LoggedAgents, assert_acts_alike, rllibs_episodes
from plugin_helpers import BOTH, SMALL, ppo
from ray.rllib.connectors.env_to_module import MeanStdFilter

import rllib_elmur
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.previous import PreviousInput


def two_agents(**options: Any) -> Any:
    config = ppo(LoggedAgents, {"length": 6}).multi_agent(
        policies={"first", "second"}, policy_mapping_fn=lambda agent, episode, **kwargs: agent
    )
    return rllib_elmur.use_elmur(config, **SMALL, **options)


def filtered_agents() -> Any:
    return two_agents(**BOTH).env_runners(
        env_to_module_connector=lambda env, spaces, device: [
            MeanStdFilter(multi_agent=True),
            PreviousInput(multi_agent=True),
        ]
    )


@pytest.mark.parametrize("config", [two_agents, lambda: two_agents(**BOTH), filtered_agents])
def test_each_of_several_agents_acts_by_its_module(config: Any, saved: Any) -> None:
    path, algo = saved(config())
    logs = rllibs_episodes(algo, 3, LoggedAgents)
    for agent in ("first", "second"):
        policy = rllib_elmur.load_policy(path, module_id=agent)
        assert_acts_alike(policy, [log[agent] for log in logs])


def test_a_module_of_two_agents_normalizes_for_the_one_that_is_named(saved: Any) -> None:
    config = ppo(LoggedAgents, {"length": 6, "same": True}).multi_agent(
        policies={"both"}, policy_mapping_fn=lambda agent, episode, **kwargs: "both"
    )
    config.env_runners(
        env_to_module_connector=lambda env, spaces, device: MeanStdFilter(multi_agent=True)
    )
    path, algo = saved(rllib_elmur.use_elmur(config, **SMALL))
    logs = rllibs_episodes(algo, 3, LoggedAgents)
    for agent in ("first", "second"):
        policy = rllib_elmur.load_policy(path, module_id="both", agent_id=agent)
        assert_acts_alike(policy, [log[agent] for log in logs])
    for options in ({"module_id": "both"}, {"module_id": "both", "agent_id": "third"}):
        with pytest.raises(UserError, match=r"agent_id=.*'first', 'second'"):
            rllib_elmur.load_policy(path, **options)
    for options in ({}, {"module_id": "third"}):
        with pytest.raises(UserError, match=r"the modules both of .*module_id"):
            rllib_elmur.load_policy(path, **options)
