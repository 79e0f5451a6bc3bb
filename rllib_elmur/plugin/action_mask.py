"""The option `action_mask` of a policy."""

import gymnasium as gym

from rllib_elmur.model.action_mask import ACTION_MASK, ActionMask, NoMask, part_at
from rllib_elmur.model.previous import OBSERVATION
from rllib_elmur.plugin.policy_options import PolicyOptions
from rllib_elmur.plugin.say_once import say_once


def action_mask(
    space: gym.Space, action_space: gym.Space, options: PolicyOptions, environment: str
) -> NoMask | ActionMask:
    """The mask of a policy.

    Args:
        space: Its observation space.
        action_space: Its action space.
        options: Its options.
        environment: How an error calls the environment.
    """
    joined = options.previous_action or options.previous_reward
    path = (OBSERVATION, ACTION_MASK) if joined else (ACTION_MASK,)
    if options.action_mask:
        return ActionMask(space, path, action_space, environment)
    if part_at(space, path) is not None:
        say_once(
            f"The observation of {environment} has a part {ACTION_MASK!r}, which the policy reads "
            "like any other part: it may take actions that are masked out. "
            f"`use_elmur(config, {ACTION_MASK}=True, ...)` forbids them."
        )
    return NoMask(space)
