"""All policies of a training of several agents, in episodes side by side."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.spaces.space_utils import batch as stack

from rllib_elmur.acting.batches import row_of
from rllib_elmur.acting.checkpoint import policy_for
from rllib_elmur.acting.policy import Policy
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.checkpoints import Checkpoint, algorithm_config


class _EpisodeId(str):
    """A number as RLlib's id of an episode, whose hash is the same in every process.

    Trainings against former selves draw each episode's sides by it.
    """

    def __hash__(self) -> int:
        return int(self)


class AgentPolicies:
    """Each agent's policy, of the module that the training's `policy_mapping_fn` names.

    Args:
        checkpoints: From `checkpoints.load_all`.
        seed: Of the actions that ELMUR policies draw; each agent's are others.
    """

    def __init__(self, checkpoints: Mapping[str, Checkpoint], seed: int = 0):
        self._checkpoints, self._seed = checkpoints, seed
        first = next(iter(checkpoints.values()))
        self.path, self._mapping = first.path, algorithm_config(first).policy_mapping_fn
        self._spaces = first.observation_space, first.action_space
        for checkpoint in checkpoints.values():  # RLlib's random module draws by it
            module: Any = checkpoint.module
            module.action_space.seed(seed)
        self._policies: dict[tuple[str, Any], Policy] = {}
        self._episodes: list[MultiAgentEpisode] = []

    def reset(self, numbers: Iterable[int]) -> None:
        """Begins episodes, one for each of these numbers."""
        self._episodes = [
            MultiAgentEpisode(
                id_=_EpisodeId(number),
                agent_to_module_mapping_fn=self._mapping,
            )
            for number in numbers
        ]
        for policy in self._policies.values():
            policy.reset()

    def spaces_of(self, agent: Any) -> tuple[Any, Any]:
        """The spaces of an agent's observations and actions in training.

        Raises:
            UserError: If the agent was not in it.
        """
        observation_spaces, action_spaces = self._spaces
        if agent not in observation_spaces.spaces:
            raise UserError(
                f"{self.path}: agent {agent!r} of the environment was not in the training, whose "
                f"agents were {', '.join(map(repr, observation_spaces))}."
            )
        return observation_spaces[agent], action_spaces[agent]

    def module_of(self, row: int, agent: Any) -> str:
        """The id of the module that acts for an agent in an episode.

        Raises:
            UserError: If the training's function names none that the checkpoint has.
        """
        try:
            module_id: Any = self._episodes[row].module_for(agent)
        except Exception as error:  # it may look at steps of the episode, which is kept without
            raise UserError(
                f"{self.path}: its policy_mapping_fn has no module for agent {agent!r} at an "
                f"episode's start: {type(error).__name__}: {error}"
            ) from error
        if module_id not in self._checkpoints:
            raise UserError(
                f"{self.path}: its policy_mapping_fn names the module {module_id!r} for agent "
                f"{agent!r}, and the checkpoint has {', '.join(self._checkpoints)}."
            )
        return module_id

    def act(
        self,
        observations: Sequence[Mapping[Any, Any]],
        rewards: Sequence[Mapping[Any, float]],
        explore: bool = False,
    ) -> list[dict[Any, Any]]:
        """Chooses the action of each agent that has an observation.

        Args:
            observations: Of each episode, by agent.
            rewards: Likewise, what the agent got since it acted last.
            explore: Whether actions are drawn; else they are the likeliest.

        Returns:
            The actions of each episode, by agent.

        Raises:
            ValueError: If an observation is not of the agent's space (see `Policy.act`).
            UserError: If there is no policy for an agent.
        """
        acting: dict[tuple[str, Any], list[int]] = defaultdict(list)
        for row, seen in enumerate(observations):
            for agent in seen:
                acting[self.module_of(row, agent), agent].append(row)
        actions: list[dict[Any, Any]] = [{} for _ in observations]
        for (module_id, agent), rows in acting.items():
            chosen = self._policy(module_id, agent).act(
                stack([observations[row][agent] for row in rows]),
                [rewards[row].get(agent, 0.0) for row in rows],
                rows=rows,
                explore=explore,
            )
            for i, row in enumerate(rows):
                actions[row][agent] = row_of(chosen, i)
        return actions

    def _policy(self, module_id: str, agent: Any) -> Policy:
        """The policy of an agent, with a memory of its own in each episode."""
        key = module_id, agent
        if key not in self._policies:
            seed = self._seed, len(self._policies)
            checkpoint, spaces = self._checkpoints[module_id], self.spaces_of(agent)
            self._policies[key] = policy_for(checkpoint, spaces, agent, seed)
        return self._policies[key]
