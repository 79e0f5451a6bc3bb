"""MiniGrid's memory task, seen three cells ahead: which of two objects was shown at first?

Needs `pip install minigrid`.
"""

import gymnasium as gym
import numpy as np
from minigrid.wrappers import ImgObsWrapper, OneHotPartialObsWrapper
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

import rllib_elmur


class View(gym.ObservationWrapper):
    """The object, colour and state of each cell that is seen, one-hot, as a vector."""

    def __init__(self, env: gym.Env):
        super().__init__(ImgObsWrapper(OneHotPartialObsWrapper(env)))
        size = int(np.prod(self.env.observation_space.shape))
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)

    def observation(self, observation):
        """The view, flat."""
        return observation.reshape(-1).astype(np.float32)


register_env(
    "minigrid-memory",
    lambda options: View(gym.make("minigrid:MiniGrid-MemoryS7-v0", agent_view_size=3)),
)
config = (
    PPOConfig()
    .environment("minigrid-memory")
    .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
    .training(**rllib_elmur.PPO_SETTINGS)
)
rllib_elmur.use_elmur(config)
stop = {"env_runners/episode_return_mean": 0.9, "num_env_steps_sampled_lifetime": 1_000_000}
