"""Plays episodes with a policy, side by side in one vector environment."""

from collections.abc import Callable, Iterator
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
    """Figures of episodes that have ended, and of others so far, (N,).

    Attributes:
        returns: Sums of rewards.
        lengths: Numbers of steps.
        ended: Which of them have ended.
        success: Whether the environment called each a success; None if it says nothing about it.
        interrupted: Whether Ctrl-C ended the play.
    """

    returns: np.ndarray
    lengths: np.ndarray
    ended: np.ndarray
    success: np.ndarray | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class Bounds:
    """Where a play ends though episodes go on.

    Attributes:
        episode_steps: Steps of an episode.
        steps: Steps of all episodes together; None: as many as they take.
    """

    episode_steps: int
    steps: int | None = None

    def reached(self, lengths: np.ndarray) -> bool:
        """Whether episodes of these lengths, (N,), go on no more."""
        longest, total = int(lengths.max()), int(lengths.sum())
        return longest >= self.episode_steps or (self.steps is not None and total >= self.steps)


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
    bounds: Bounds,
    explore: bool = False,
    on_step: Callable[[int, np.ndarray], None] | None = None,
) -> EpisodeResults:
    """Plays one episode in each of N environments.

    Args:
        policy: Acts in all environments at once.
        envs: The environments; each contributes its first episode, so short ones count no more
            than long ones.
        seed: Environment i is reset with the seed `seed` + i.
        bounds: Where episodes are left that have not ended.
        explore: Whether actions are drawn; else they are the likeliest.
        on_step: Called with the number of steps and a mask of the episodes still running.

    Raises:
        UserError: If the policy cannot act on what an environment returned.
    """
    num = envs.num_envs
    played = EpisodeResults(np.zeros(num), np.zeros(num, np.int64), np.zeros(num, bool))
    try:
        for step, ended in enumerate(_steps(policy, envs, seed, explore, played), 1):
            if on_step is not None:
                on_step(step, ~ended)
            if ended.all() or bounds.reached(played.lengths):
                break
    except KeyboardInterrupt:
        played.interrupted = True
    return played


def _steps(
    policy: Policy, envs: VectorEnv, seed: int, explore: bool, played: EpisodeResults
) -> Iterator[np.ndarray]:
    """Steps all environments, adds to the figures, and yields which episodes have ended."""
    num = envs.num_envs
    observation, infos = envs.reset(seed=seed)
    reward, over = np.zeros(num), np.zeros(num, dtype=bool)
    policy.reset()
    while True:
        try:
            actions = policy.act(observation, reward, ended=over, explore=explore, info=infos)
        except ValueError as error:
            raise UserError(str(error)) from error
        observation, reward, terminated, truncated, infos = envs.step(actions)
        over = terminated | truncated
        running = ~played.ended
        played.returns += reward * running
        played.lengths += running
        ended = over & running
        if "success" in infos and ended.any():
            played.success = np.zeros(num) if played.success is None else played.success
            played.success[ended] = np.asarray(infos["success"], dtype=float)[ended]
        played.ended |= ended
        yield played.ended
