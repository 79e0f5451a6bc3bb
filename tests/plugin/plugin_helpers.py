"""Small environments and configs, and what RLlib does between sampling and a loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space, unsquash_action

import rllib_elmur

SMALL = {
    **rllib_elmur.PAPER,
    "d_model": 16,
    "n_heads": 2,
    "d_ff": 16,
    "segment_length": 3,
    "memory_slots": 2,
    "max_seq_len": 8,
}
BOTH = {"previous_action": True, "previous_reward": True}
# Episodes of one step, shorter and longer than a row of 8, and of its length and multiples.
ENV = {"lengths": [1, 2, 7, 8, 9, 16, 23, 40]}


class RandomEnv(gym.Env):
    """Random observations and rewards.

    Args:
        config: `observation` and `action` spaces; `lengths`, of which each episode draws one;
            `truncate` to end episodes by truncation.
    """

    def __init__(self, config: Any = None):
        config = dict(config or {})
        self.observation_space = config.get("observation", gym.spaces.Box(-1, 1, (3,)))
        self.action_space = config.get("action", gym.spaces.Discrete(3))
        self.lengths = config.get("lengths", [17])
        self.truncate = config.get("truncate", False)
        self.t, self.length = 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t, self.length = 0, self.np_random.choice(self.lengths)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.t += 1
        done = self.t >= self.length
        over = done and not self.truncate
        return (
            self.observation_space.sample(),
            float(self.np_random.normal()),
            over,
            done and self.truncate,
            {},
        )


def ppo(env: Any = RandomEnv, env_config: dict[str, Any] | None = None, **training: Any) -> Any:
    """A PPO config that trains in a moment, in this process."""
    return (
        PPOConfig()
        .environment(env, env_config=env_config or {})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .learners(num_learners=0)
        .training(
            **{
                "train_batch_size": 64,
                "minibatch_size": 32,
                "num_epochs": 2,
                "lr": 1e-3,
                **training,
            }
        )
        .debugging(seed=0, log_level="ERROR")
    )


def elmur_ppo(
    env: Any = RandomEnv, env_config: dict[str, Any] | None = None, **options: Any
) -> Any:
    """The same with a small ELMUR."""
    return rllib_elmur.use_elmur(ppo(env, env_config), **{**SMALL, **options})


def tuned(config: Any, folder: Path) -> Any:
    """The results of Tune's trials of a config: an iteration and a checkpoint each."""
    return tune.Tuner(
        "PPO",
        param_space=config,
        run_config=tune.RunConfig(
            stop={"training_iteration": 1},
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    ).fit()


def learner_of(algo: Any) -> Any:
    return algo.learner_group._learner


def learner_module(algo: Any, module_id: str = DEFAULT_MODULE_ID) -> Any:
    return learner_of(algo).module[module_id]


def weights(module: Any) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in module.named_parameters()}


def unmoved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    """Names of the parameters that are as they were."""
    return [name for name, value in before.items() if np.array_equal(value, after[name])]


def shake(algo: Any, scale: float = 0.2) -> None:
    """Makes outputs depend strongly on everything that was seen, in learner and env runner.

    Real-valued memory carries float32 rounding from segment to segment. At 0.2 this moves the
    logits of 40 steps by 2e-6 at most, at 0.3 by 2e-5, by the machine's vector instructions; both
    against the same module in float64.
    """
    runners = algo.env_runner.module
    for module_id, module in learner_of(algo).module.items():
        if not isinstance(module, torch.nn.Module):  # RLlib's random one
            continue
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
        runner = runners[module_id] if isinstance(runners, MultiRLModule) else runners
        runner.set_state(module.get_state(inference_only=True))


def train_batch(algo: Any, episodes: list[Any]) -> dict[str, Any]:
    """The batch that PPO's learner makes of sampled episodes."""
    learner = learner_of(algo)
    batch = learner._learner_connector(
        rl_module=learner.module,
        batch={},
        episodes=episodes,
        shared_data={},
        metrics=learner.metrics,
    )
    return batch[DEFAULT_MODULE_ID]


def batched(observation: Any) -> Any:
    """One observation as a (1, 1, ...) batch."""
    return tree.map_structure(lambda x: torch.as_tensor(np.asarray(x))[None, None], observation)


def play(
    module: Any, env: gym.Env, n_steps: int, observe: Callable[..., Any] | None = None
) -> list[Any]:
    """Acts greedily in a Gymnasium loop, as a user of a trained policy does.

    Args:
        module: The policy.
        env: The environment.
        n_steps: Steps to take.
        observe: Makes the policy's input of an observation and the previous action and reward.
    """
    actions, done = [], True
    for _ in range(n_steps):
        if done:
            observation, _ = env.reset(seed=0)
            state = tree.map_structure(lambda x: x[None], module.get_initial_state())
            action, reward = None, 0.0
        seen = observe(observation, action, reward) if observe else observation
        output = module.forward_inference({Columns.OBS: batched(seen), Columns.STATE_IN: state})
        state = output[Columns.STATE_OUT]
        distribution = module.get_inference_action_dist_cls().from_logits(
            output[Columns.ACTION_DIST_INPUTS]
        )
        action = distribution.to_deterministic().sample()
        action = tree.map_structure(lambda x: x.numpy()[0, 0], action)
        sent = unsquash_action(action, get_base_struct_from_space(env.action_space))
        observation, reward, terminated, truncated, _ = env.step(sent)
        done = terminated or truncated
        actions.append(action)
    return actions


class Doubled(ConnectorV2):
    """A user's env-to-module piece: changes the newest observation of each episode."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes):
            doubled = 2 * episode.get_observations(-1) + 5
            episode.set_observations(at_indices=-1, new_data=doubled)
        return batch


class TwoAgents(MultiAgentEnv):
    """Two agents that act at once and see random vectors, of different sizes unless `same`."""

    def __init__(self, config: Any = None):
        super().__init__()
        config = dict(config or {})
        self.length = config.get("length", 17)
        self.agents = self.possible_agents = ["first", "second"]
        self.observation_spaces = {
            "first": gym.spaces.Box(-1, 1, (3,)),
            "second": gym.spaces.Box(-1, 1, (2,)),
        }
        self.action_spaces = {"first": gym.spaces.Discrete(2), "second": gym.spaces.Discrete(3)}
        if config.get("same"):
            self.observation_spaces["second"] = gym.spaces.Box(-5, 5, (3,))
            self.action_spaces["first"] = gym.spaces.Discrete(3)
        self.t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return self._observations(), {}

    def step(self, actions: Any) -> Any:
        self.t += 1
        rewards = {agent: 0.1 * action + 0.01 * self.t for agent, action in actions.items()}
        done = self.t >= self.length
        return self._observations(), rewards, {"__all__": done}, {"__all__": False}, {}

    def _observations(self) -> dict[str, Any]:
        return {agent: space.sample() for agent, space in self.observation_spaces.items()}
