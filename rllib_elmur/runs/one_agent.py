"""One agent in each of N environments: a policy in one vector environment."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_elmur.acting.policy import Policy
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.environments import env_maker, require_spaces
from rllib_elmur.runs.play import EpisodeResults


class OneAgent:
    """A `Game` of one policy that acts in all environments at once.

    Args:
        policy: The policy.
        env: The environment, by class or id.
        options: Its options.
        num_envs: How many play side by side.

    Raises:
        UserError: If the environment is unknown, or refuses the options.
    """

    def __init__(self, policy: Policy, env: Any, options: dict[str, Any], num_envs: int):
        self._policy, self._envs = policy, _make_vector_env(env, options, num_envs)
        self.num_envs, self.metadata = num_envs, dict(self._envs.metadata)

    def require_spaces(self, where: str) -> None:
        """Raises a UserError, which begins with `where`, if they have other spaces."""
        spaces = self._envs.single_observation_space, self._envs.single_action_space
        require_spaces(self._policy, *spaces, where)

    def render(self) -> Any:
        """What the first environment shows."""
        frames = self._envs.render()
        return frames[0] if frames else None

    def close(self) -> None:
        """Closes the environments."""
        self._envs.close()

    def steps(self, seed: int, explore: bool, played: EpisodeResults) -> Iterator[np.ndarray]:
        """Begins N episodes, steps them for ever and adds to the figures (see `Game`)."""
        observation, infos = self._envs.reset(seed=seed)
        reward, over = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        self._policy.reset()
        yield played.ended
        while True:
            try:
                actions = self._policy.act(
                    observation, reward, ended=over, explore=explore, info=infos
                )
            except ValueError as error:
                raise UserError(str(error)) from error
            observation, reward, terminated, truncated, infos = self._envs.step(actions)
            over = terminated | truncated
            running = ~played.ended
            played.returns += reward * running
            played.lengths += running
            ended = over & running
            if "success" in infos and ended.any():
                played.note_success(ended, np.asarray(infos["success"], dtype=float)[ended])
            played.ended |= ended
            yield played.ended


def _make_vector_env(env: Any, options: dict[str, Any], num_envs: int) -> VectorEnv:
    """Makes N environments side by side, in the environment's own vector form if it has one."""
    try:
        make = env_maker(env)
        spec = gym.registry.get(env.rpartition(":")[2]) if isinstance(env, str) else None
        if spec is not None and spec.vector_entry_point:
            return gym.make_vec(
                env, num_envs=num_envs, vectorization_mode="vector_entry_point", **options
            )
        return SyncVectorEnv([lambda: _of_one_agent(make(options), env)] * num_envs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"env={env!r} cannot be made with {options}: {error}") from error


def _of_one_agent(made: gym.Env, env: Any) -> gym.Env:
    if isinstance(made.unwrapped, MultiAgentEnv):
        raise UserError(f"env={env!r} is of several agents, and the checkpoint's policy is of one.")
    return made
