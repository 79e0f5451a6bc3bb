"""Several agents in each of N environments, with all policies of their training."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_elmur.acting.agents import AgentPolicies
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.environments import env_maker
from rllib_elmur.plugin.success import success_in
from rllib_elmur.runs.play import EpisodeResults


class SeveralAgents:
    """A `Game` of several agents.

    Args:
        policies: Those of all agents.
        env: The environment, by class or id.
        options: Its options.
        num_envs: How many play side by side.

    Raises:
        UserError: If the environment is unknown, refuses the options or is of one agent.
    """

    def __init__(self, policies: AgentPolicies, env: Any, options: dict[str, Any], num_envs: int):
        self._policies, self.num_envs = policies, num_envs
        make = env_maker(env)
        try:
            self._envs: list[Any] = [make(options) for _ in range(num_envs)]
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"env={env!r} cannot be made with {options}: {error}") from error
        if not isinstance(self._envs[0].unwrapped, MultiAgentEnv):
            raise UserError(
                f"env={env!r} is of one agent, and the checkpoint's policies are of several."
            )
        self.metadata = dict(self._envs[0].metadata)

    def require_spaces(self, where: str) -> None:
        """Raises a UserError, which begins with `where`, if an agent has other spaces."""
        env = self._envs[0].unwrapped
        for agent in env.possible_agents:
            found = env.get_observation_space(agent), env.get_action_space(agent)
            trained = self._policies.spaces_of(agent)
            for kind, ours, its in zip(("observation", "action"), trained, found, strict=True):
                if ours != its:
                    raise UserError(
                        f"{where}agent {agent!r} was trained for the {kind} space {ours}, but the "
                        f"environment has {its}."
                    )

    def render(self) -> Any:
        """What the first environment shows."""
        return self._envs[0].render()

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs:
            env.close()

    def steps(self, seed: int, explore: bool, played: EpisodeResults) -> Iterator[np.ndarray]:
        """Begins N episodes, steps them for ever and adds to the figures (see `Game`)."""
        numbers = range(seed, seed + self.num_envs)
        self._policies.reset(numbers)
        episodes = [_Episode(env, n) for env, n in zip(self._envs, numbers, strict=True)]
        played.agents = [{} for _ in episodes]
        yield played.ended
        while True:
            observations = [episode.observations for episode in episodes]
            owed = [episode.owed for episode in episodes]
            try:
                actions = self._policies.act(observations, owed, explore)
            except ValueError as error:
                raise UserError(str(error)) from error
            for i, (episode, chosen) in enumerate(zip(episodes, actions, strict=True)):
                if played.ended[i]:
                    continue
                info = episode.step(chosen)
                played.lengths[i] += 1
                played.returns[i] = sum(episode.returns.values())
                played.agents[i] = {
                    (agent, self._policies.module_of(i, agent)): value
                    for agent, value in episode.returns.items()
                }
                success = success_in(info) if episode.ended else None
                if success is not None:
                    played.note_success(i, success)
                played.ended[i] = episode.ended
            yield played.ended


class _Episode:
    """An episode whose steps and rewards count as in RLlib's `MultiAgentEpisode`.

    Attributes:
        observations: Those to act on, by agent.
        owed: Rewards since the last act, by agent.
        returns: Rewards since the first observation, by agent.
        ended: Whether it has ended.
    """

    def __init__(self, env: Any, seed: int):
        self._env, self.ended = env, False
        self.observations: Mapping[Any, Any] = env.reset(seed=seed)[0]
        self.owed: dict[Any, float] = defaultdict(float)
        self.returns: dict[Any, float] = dict.fromkeys(self.observations, 0.0)
        self._over: set[Any] = set()

    def step(self, actions: dict[Any, Any]) -> dict[Any, Any]:
        """Steps the environment, and returns its infos."""
        observations, rewards, terminated, truncated, infos = self._env.step(actions)
        for agent in actions:
            self.owed[agent] = 0.0
        for agent in self.returns.keys() & rewards.keys():
            self.owed[agent] += rewards[agent]
            self.returns[agent] += rewards[agent]
        self._over |= {
            agent for flags in (terminated, truncated) for agent in flags if flags[agent]
        }
        self.ended = "__all__" in self._over or self.returns.keys() <= self._over
        self.observations = (
            {}
            if self.ended
            else {agent: seen for agent, seen in observations.items() if agent not in self._over}
        )
        self.returns |= dict.fromkeys(self.observations.keys() - self.returns.keys(), 0.0)
        return infos
