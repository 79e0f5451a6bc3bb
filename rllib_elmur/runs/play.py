"""Plays whole episodes with a policy, greedily, side by side in one vector environment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from rllib_elmur.acting.policy import Policy
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.environments import env_maker


@dataclass
class EpisodeResults:
    """Figures of finished episodes, (N,).

    Attributes:
        returns: Sums of rewards.
        lengths: Numbers of steps.
        success: Whether the environment called each a success; None if it says nothing about it.
    """

    returns: np.ndarray
    lengths: np.ndarray
    success: np.ndarray | None


def make_vector_env(env: Any, options: dict[str, Any], num_envs: int) -> VectorEnv:
    """Makes N environments side by side, in the environment's own vector form if it has one.

    Raises:
        UserError: If the environment is unknown, or refuses the options.
    """
    try:
        make = env_maker(env)
        spec = gym.registry.get(env.rpartition(":")[2]) if isinstance(env, str) else None
        if spec is not None and spec.vector_entry_point:
            return gym.make_vec(
                env, num_envs=num_envs, vectorization_mode="vector_entry_point", **options
            )
        return SyncVectorEnv([lambda: make(options)] * num_envs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"env={env!r} cannot be made with {options}: {error}") from error


def play(
    policy: Policy,
    envs: VectorEnv,
    seed: int,
    on_step: Callable[[int, np.ndarray], None] | None = None,
) -> EpisodeResults:
    """Plays one episode in each of N environments.

    Args:
        policy: Acts greedily, in all environments at once.
        envs: The environments; each contributes its first episode, so short ones count no more
            than long ones.
        seed: Environment i is reset with the seed `seed` + i.
        on_step: Called with the number of steps and a mask of the episodes still running.

    Raises:
        UserError: If the policy cannot act on what an environment returned.
    """
    num = envs.num_envs
    running = np.ones(num, dtype=bool)
    returns, lengths = np.zeros(num), np.zeros(num, dtype=np.int64)
    success: np.ndarray | None = None
    observation, infos = envs.reset(seed=seed)
    reward, over, step = np.zeros(num), np.zeros(num, dtype=bool), 0
    policy.reset()
    while True:
        try:
            actions = policy.act(observation, reward, ended=over, info=infos)
        except ValueError as error:
            raise UserError(str(error)) from error
        observation, reward, terminated, truncated, infos = envs.step(actions)
        over = terminated | truncated
        step += 1
        returns += reward * running
        lengths += running
        ended = over & running
        if "success" in infos and ended.any():
            success = np.zeros(num) if success is None else success
            success[ended] = np.asarray(infos["success"], dtype=float)[ended]
        running &= ~ended
        if on_step is not None:
            on_step(step, running)
        if not running.any():
            return EpisodeResults(returns, lengths, success)
