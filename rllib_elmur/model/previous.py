"""The previous action and reward as parts of an observation: spaces and values, without RLlib."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

OBSERVATION = "observation"
PREVIOUS_ACTION = "previous_action"
PREVIOUS_REWARD = "previous_reward"


def joined_space(
    observation: gym.Space, action: gym.Space, with_action: bool, with_reward: bool
) -> spaces.Dict:
    """The space of observations that are joined with the previous action, the reward, or both."""
    parts = {OBSERVATION: observation}
    if with_action:
        parts[PREVIOUS_ACTION] = action_input_space(action)
    if with_reward:
        parts[PREVIOUS_REWARD] = spaces.Box(-np.inf, np.inf, (), np.float32)
    return spaces.Dict(parts)


def join_previous(
    space: spaces.Dict,
    action_space: gym.Space,
    observation: Any,
    action: Any = None,
    reward: Any = 0.0,
) -> dict[str, Any]:
    """Joins an observation with the action and the reward before it.

    Args:
        space: The policy's observation space (`module.observation_space`); it says which parts are
            wanted.
        action_space: The environment's action space (`module.action_space`).
        observation: What the environment returned.
        action: The policy's last action, before RLlib unsquashes or clips it; None at an episode's
            start.
        reward: The last reward.

    Returns:
        A member of `space`.
    """
    joined = {OBSERVATION: observation}
    if PREVIOUS_ACTION in space.spaces:
        joined[PREVIOUS_ACTION] = action_input(action_space, action)
    if PREVIOUS_REWARD in space.spaces:
        joined[PREVIOUS_REWARD] = np.asarray(reward, np.float32)
    return joined


def action_input_space(space: gym.Space) -> gym.Space:
    """Returns the space of an action as an input, in which zeros mean no action."""
    match space:
        case spaces.Discrete():
            return spaces.Discrete(int(space.n) + 1)
        case spaces.MultiDiscrete():
            return spaces.MultiDiscrete(space.nvec + 1)
        case spaces.Box():
            # A policy's action may lie outside of what the environment takes.
            return spaces.Box(-np.inf, np.inf, space.shape, np.float32)
        case spaces.Dict():
            return spaces.Dict({key: action_input_space(part) for key, part in space.items()})
        case spaces.Tuple():
            return spaces.Tuple([action_input_space(part) for part in space])
    raise ValueError(
        f"{PREVIOUS_ACTION}=True: the action space {space} is not supported: it must be Discrete, "
        "MultiDiscrete, a Box, or a Dict or Tuple of these."
    )


def action_input(space: gym.Space, action: Any) -> Any:
    """Converts an action, or None for no action, to a member of `action_input_space`."""
    match space:
        case spaces.Dict():
            return {
                key: action_input(part, None if action is None else action[key])
                for key, part in space.items()
            }
        case spaces.Tuple():
            actions = [None] * len(space) if action is None else action
            return tuple(map(action_input, space, actions))
        case spaces.Box():
            action = np.zeros(space.shape) if action is None else action
            return np.asarray(action, np.float32)
        case spaces.Discrete() | spaces.MultiDiscrete():
            action = np.full(space.shape or (), -1) if action is None else action
            return np.asarray(action, np.int64) + 1
    raise ValueError(f"The action space {space} is not supported.")
