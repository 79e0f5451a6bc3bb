"""Adds the previous action and reward to the observation.

A connector piece changes each observation inside the running episode, so that the policy sees the
same while acting and in training, wherever a fragment is cut.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.vector.vector_multi_agent_env import VectorMultiAgentEnv
from ray.rllib.utils.annotations import override

from rllib_elmur.model.previous import (
    PREVIOUS_ACTION,
    PREVIOUS_REWARD,
    join_previous,
    joined_space,
)
from rllib_elmur.plugin.policy_options import PolicyOptions
from rllib_elmur.plugin.user_connectors import pieces_of


def join_recorded(episode: Any, space: Any, action_space: gym.Space) -> None:
    """Joins the observations of a recorded episode in place, unless they were recorded joined.

    Args:
        episode: A `SingleAgentEpisode` of lists.
        space: The policy's observation space, with the parts that are wanted.
        action_space: The policy's action space.
    """
    first = episode.get_observations(0)
    if isinstance(first, dict) and {PREVIOUS_ACTION, PREVIOUS_REWARD} & first.keys():
        return
    for t in range(len(episode) + 1):
        before = {}
        if t:
            before = {"action": episode.get_actions(t - 1), "reward": episode.get_rewards(t - 1)}
        joined = join_previous(space, action_space, episode.get_observations(t), **before)
        episode.set_observations(at_indices=t, new_data=joined)


class PreviousInput(ConnectorV2):
    """Env-to-module piece: observations become ``{"observation", "previous_action", ...}``.

    An action is what the policy chose, as RLlib stores it. At an episode's start all of the parts
    are zero; categories are counted from 1, so that no action is not the first action.

    Args:
        input_observation_space: The space of the observations that come in.
        input_action_space: The action space.
        multi_agent: Whether both spaces are dicts of agents.
        action: Whether to add the previous action.
        reward: Whether to add the previous reward.
    """

    def __init__(
        self,
        input_observation_space: gym.Space | None = None,
        input_action_space: gym.Space | None = None,
        *,
        multi_agent: bool = False,
        action: bool = True,
        reward: bool = True,
    ):
        # RLlib derives the output space as soon as the base class knows the input space.
        self._multi_agent, self._action, self._reward = multi_agent, action, reward
        super().__init__(input_observation_space, input_action_space)

    @override(ConnectorV2)
    def recompute_output_observation_space(
        self, input_observation_space: Any, input_action_space: Any
    ) -> gym.Space:
        """Returns the space of the joined observations."""
        if not self._multi_agent:
            return self._join_spaces(input_observation_space, input_action_space)
        return spaces.Dict(
            {
                agent: self._join_spaces(space, input_action_space[agent])
                for agent, space in input_observation_space.items()
            }
        )

    def _join_spaces(self, observation: gym.Space, action: gym.Space) -> spaces.Dict:
        return joined_space(observation, action, self._action, self._reward)

    @override(ConnectorV2)
    def __call__(self, *, batch: dict[str, Any], episodes: list[Any], **kwargs: Any) -> Any:
        """Joins the newest observation of every episode, in place."""
        if Columns.OBS in batch:
            raise ValueError(
                "previous_action and previous_reward change observations inside the episodes, but "
                "a connector before them has put observations into the batch already (frame "
                "stacking does so). Stack frames in the environment instead."
            )
        for episode in self.single_agent_episode_iterator(episodes):
            space: Any = self.observation_space
            action_space: Any = self.input_action_space
            if self._multi_agent:
                space, action_space = space[episode.agent_id], action_space[episode.agent_id]
            before = {}
            if episode.t > 0 and self._action:
                before["action"] = episode.get_actions(-1)
            if episode.t > 0 and self._reward:
                before["reward"] = episode.get_rewards(-1)
            joined = join_previous(space, action_space, episode.get_observations(-1), **before)
            episode.set_observations(at_indices=-1, new_data=joined)
            if episode.observation_space is not space:  # to set it takes as long as all the rest
                episode.observation_space = space
        return batch


class RecordedSpace(ConnectorV2):
    """Learner piece: says of which space recorded observations are when `join_recorded` has joined.

    Without env runners RLlib makes the module for the space that the learner's pieces end with.

    Args:
        action: Whether the previous action is joined.
        reward: Whether the previous reward is joined.
    """

    def __init__(self, *, action: bool, reward: bool):
        self._wanted = action, reward
        super().__init__()

    @override(ConnectorV2)
    def recompute_output_observation_space(
        self, input_observation_space: Any, input_action_space: Any
    ) -> Any:
        """Returns the space of the joined observations."""
        parts = getattr(input_observation_space, "spaces", ())
        is_joined = PREVIOUS_ACTION in parts or PREVIOUS_REWARD in parts
        if is_joined or input_action_space is None or not any(self._wanted):
            return input_observation_space
        return joined_space(input_observation_space, input_action_space, *self._wanted)

    @override(ConnectorV2)
    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> Any:
        """Leaves everything as it is."""
        return batch


@dataclass(frozen=True)
class ConnectorBuilder:
    """Builds the env-to-module pieces, for `config.env_runners(env_to_module_connector=...)`.

    Attributes:
        users: The builder that the config had before; its pieces come first.
        action: Whether to add the previous action.
        reward: Whether to add the previous reward.
    """

    users: Any
    action: bool
    reward: bool

    def __call__(self, *args: Any) -> list[ConnectorV2]:
        """Builds the pieces from RLlib's `env`, `spaces` and `device`.

        RLlib calls with `env` alone if the user's builder takes no more.
        """
        env, env_spaces = (*args, None)[:2]
        if env is not None:
            multi_agent = isinstance(env.unwrapped, VectorMultiAgentEnv)
        else:
            multi_agent = DEFAULT_MODULE_ID not in (env_spaces or {DEFAULT_MODULE_ID})
        ours = PreviousInput(multi_agent=multi_agent, action=self.action, reward=self.reward)
        return [*pieces_of(self.users, *args), ours]


def with_previous(users: Any, action: bool, reward: bool) -> Any:
    """Makes the env-to-module builder that adds the previous action and reward.

    Args:
        users: The builder that the algorithm's config holds, or None.
        action: Whether to add the previous action.
        reward: Whether to add the previous reward.

    Returns:
        `users` itself if neither is wanted.
    """
    if isinstance(users, ConnectorBuilder):  # `use_elmur` again, with other options
        users = users.users
    return ConnectorBuilder(users, action, reward) if action or reward else users


def require_previous(space: gym.Space, options: PolicyOptions) -> None:
    """Raises a ValueError if an option is on but observations do not have its part."""
    for part in (PREVIOUS_ACTION, PREVIOUS_REWARD):
        if getattr(options, part) and not (isinstance(space, spaces.Dict) and part in space.spaces):
            raise ValueError(
                f"{part}=True, but the observation space {space} has no part {part!r}: the "
                "connector that adds it is missing. Call `rllib_elmur.use_elmur(config, "
                f"{part}=True, ...)` after `config.env_runners(env_to_module_connector=...)`, or "
                "end your own connectors with `rllib_elmur.plugin.previous.PreviousInput(...)`."
            )
