"""Environments of the suite that are in no package, and forms that all its policies can read.

The import registers them with Gymnasium: their ids are `suite_envs:NAME`.
"""

from typing import Any

import gymnasium as gym
import numpy as np

# The settings of bsuite, and its line between solved and not: the regret of the first 10,000
# episodes, as a share of that of random answers.
MEMORY_LENGTHS = [*range(1, 11), 12, 14, 17, 20, 25, *range(30, 101, 10)]
MEMORY_SIZES = [*range(1, 11), 12, 14, 17, 20, 25, 30, 40]
MEMORY_EPISODES = 10_000
MEMORY_REGRET = 0.75


class MemoryChain(gym.Env):
    """bsuite's `memory_len` and `memory_size` (Osband et al. 2020, arXiv 1908.03568).

    An observation is [time left, index of the bit that is asked for, the bits as -1 and 1]. The
    bits are shown at time 0 and the index at the last time; all else is 0. As in bsuite, the
    observation of time 0 comes twice (from the reset and from the first step), so an episode has
    `memory_length` + 1 steps. The last action must be the bit: reward 1, or -1. All rewards before
    are 0.

    Args:
        memory_length: Times, of which the last asks.
        num_bits: Number of bits.
    """

    action_space = gym.spaces.Discrete(2)

    def __init__(self, memory_length: int = 2, num_bits: int = 1):
        self.memory_length, self.num_bits = memory_length, num_bits
        high = np.ones(num_bits + 2, np.float32)
        high[1] = max(num_bits - 1, 1)
        low = -np.ones(num_bits + 2, np.float32)
        low[:2] = 0
        self.observation_space = gym.spaces.Box(low, high)
        self._steps, self._bits, self._asked = 0, np.zeros(num_bits, int), 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws the bits and the index of the one that will be asked for."""
        super().reset(seed=seed)
        self._steps = 0
        self._bits = self.np_random.integers(2, size=self.num_bits)
        self._asked = int(self.np_random.integers(self.num_bits))
        return self._observation(0), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Goes on; the last step answers."""
        observation = self._observation(self._steps)
        self._steps += 1
        if self._steps <= self.memory_length:
            return observation, 0.0, False, False, {}
        is_right = bool(action == self._bits[self._asked])
        return observation, 2.0 * is_right - 1.0, True, False, {"success": is_right}

    def _observation(self, time: int) -> np.ndarray:
        observation = np.zeros(self.num_bits + 2, np.float32)
        observation[0] = 1 - time / self.memory_length
        if time == self.memory_length - 1:
            observation[1] = self._asked
        if time == 0:
            observation[2:] = 2 * self._bits - 1
        return observation


class Hidden(gym.ObservationWrapper):
    """Puts 0 in the place of some features, as rl-baselines3-zoo hides velocities.

    Args:
        env: An environment whose observations are vectors.
        indices: The features that are hidden.
    """

    def __init__(self, env: gym.Env, indices: list[int]):
        super().__init__(env)
        assert env.observation_space.shape is not None
        self._shown = np.ones(env.observation_space.shape, np.float32)
        self._shown[indices] = 0

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The observation without what is hidden."""
        return observation * self._shown


class View(gym.ObservationWrapper):
    """MiniGrid's view as a vector: the object, colour and state of each cell, one-hot."""

    def __init__(self, env: gym.Env):
        from minigrid.wrappers import ImgObsWrapper, OneHotPartialObsWrapper

        super().__init__(ImgObsWrapper(OneHotPartialObsWrapper(env)))
        size = int(np.prod(self.env.observation_space.shape or ()))
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The view, flat."""
        return observation.reshape(-1).astype(np.float32)


def cartpole_without_velocities(**options: Any) -> gym.Env:
    """CartPole whose cart's and pole's velocities are hidden."""
    return Hidden(gym.make("CartPole-v1", **options), [1, 3])


def pendulum_without_velocity(**options: Any) -> gym.Env:
    """Pendulum whose angular velocity is hidden."""
    return Hidden(gym.make("Pendulum-v1", **options), [2])


def minigrid_memory(size: int, view: int = 3, **options: Any) -> gym.Env:
    """MiniGrid's memory task; the default view of 7 cells would need little memory.

    Args:
        size: Width of the grid: 7, 9, 11 or 13.
        view: Cells that the agent sees ahead, and across.
        **options: MiniGrid's.
    """
    return View(gym.make(f"minigrid:MiniGrid-MemoryS{size}-v0", agent_view_size=view, **options))


# RLlib's class; like there, it has no time limit.
STATELESS_CARTPOLE = "ray.rllib.examples.envs.classes.stateless_cartpole:StatelessCartPole"
for _name, _entry_point in {
    "MemoryChain-v0": MemoryChain,
    "CartPoleNoVel-v1": cartpole_without_velocities,
    "PendulumNoVel-v1": pendulum_without_velocity,
    "MiniGridMemory-v0": minigrid_memory,
    "StatelessCartPole-v0": STATELESS_CARTPOLE,
}.items():
    gym.register(_name, entry_point=_entry_point)
