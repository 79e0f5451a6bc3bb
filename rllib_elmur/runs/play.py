"""Plays whole episodes with a policy, greedily, side by side in one vector environment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from gymnasium.vector import SyncVectorEnv, VectorEnv
from ray.rllib.core.columns import Columns
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_elmur.errors import UserError
from rllib_elmur.plugin.checkpoints import Policy
from rllib_elmur.plugin.columns import LIVE_BATCH, each_leaf
from rllib_elmur.plugin.connectors import to_bounds
from rllib_elmur.plugin.environments import env_maker
from rllib_elmur.plugin.module import ELMURTorchRLModule

_SEED = 1_000_003


@dataclass
class Episodes:
    """What happened in finished episodes; `success` is None where the environment says nothing."""

    returns: np.ndarray
    lengths: np.ndarray
    success: np.ndarray | None


def make_vector_env(env: Any, options: dict[str, Any], num_envs: int) -> VectorEnv:
    """Makes N environments side by side, in the environment's own vector form if it has one."""
    try:
        if isinstance(env, str) and env in gym.registry and gym.spec(env).vector_entry_point:
            return gym.make_vec(
                env, num_envs=num_envs, vectorization_mode="vector_entry_point", **options
            )
        make = env_maker(env)
        return SyncVectorEnv([lambda: make(options)] * num_envs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"env={env!r} cannot be made with {options}: {error}") from error


def play(
    policy: Policy,
    envs: VectorEnv,
    round_: int = 0,
    on_step: Callable[[int, np.ndarray], None] | None = None,
) -> Episodes:
    """Plays one episode in each sub-environment.

    Args:
        policy: Acts greedily, on all sub-environments at once.
        envs: The environments; each contributes its first episode, so short ones count no more
            than long ones.
        round_: Other rounds play other episodes.
        on_step: Called with the number of steps and a mask of the episodes still running.
    """
    num = envs.num_envs
    running = np.ones(num, dtype=bool)
    returns, lengths = np.zeros(num), np.zeros(num, dtype=np.int64)
    success: np.ndarray | None = None
    observation, _ = envs.reset(seed=_SEED + round_ * num)
    act = Actor(policy, num)
    step = 0
    while running.any():
        observation, reward, terminated, truncated, infos = envs.step(act(observation))
        step += 1
        returns += reward * running
        lengths += running
        ended = (terminated | truncated) & running
        if "success" in infos and ended.any():
            success = np.zeros(num) if success is None else success
            success[ended] = np.asarray(infos["success"], dtype=float)[ended]
        running &= ~ended
        if on_step is not None:
            on_step(step, running)
    return Episodes(returns, lengths, success)


class Actor:
    """A policy's greedy actions for N episodes; keeps their recurrent state batched."""

    def __init__(self, policy: Policy, num_envs: int):
        self._module = policy.module
        self._distribution = policy.module.get_inference_action_dist_cls()
        self._to_bounds = to_bounds(
            policy.module.action_space,
            policy.settings.get("normalize_actions", True),
            policy.settings.get("clip_actions", False),
        )
        self._state: dict[str, Any] = {}
        if isinstance(policy.module, ELMURTorchRLModule):
            self._state[LIVE_BATCH] = policy.module.get_live_batch(num_envs)
        elif initial := policy.module.get_initial_state():
            self._state[Columns.STATE_IN] = tree.map_structure(
                lambda s: torch.stack([torch.as_tensor(s)] * num_envs), initial
            )

    def __call__(self, observation: Any) -> Any:
        """The environments' next actions."""
        if self._state:  # stateful modules read (batch, time, ...)
            observation = each_leaf(lambda x: x[:, None], observation)
        batch: dict[str, Any] = {Columns.OBS: convert_to_torch_tensor(observation)}
        with torch.inference_mode():
            output = self._module.forward_inference(batch | self._state)
            if Columns.STATE_OUT in output:
                self._state[Columns.STATE_IN] = output[Columns.STATE_OUT]
            action = output.get(Columns.ACTIONS)
            if action is None:
                logits = output[Columns.ACTION_DIST_INPUTS]
                distribution = self._distribution.from_logits(
                    logits[:, 0] if self._state else logits
                )
                action = distribution.to_deterministic().sample()
        action = convert_to_numpy(action)
        return action if self._to_bounds is None else self._to_bounds(action)


def play_through_rllib(
    policy: Policy, env: Any, options: dict[str, Any], num_episodes: int
) -> Iterator[Episodes]:
    """Plays episodes one by one in RLlib's own env runner, with all connectors of the training."""
    from ray.rllib.core import (
        COMPONENT_ENV_TO_MODULE_CONNECTOR,
        COMPONENT_MODULE_TO_ENV_CONNECTOR,
    )
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    from rllib_elmur.plugin.checkpoints import algorithm_config

    config = algorithm_config(policy).copy(copy_frozen=False)
    config.environment(env=env)
    config.env_config = options
    config.env_runners(num_envs_per_env_runner=1, explore=False, num_env_runners=0)
    config.seed = _SEED
    runner = SingleAgentEnvRunner(config=config, worker_index=0)
    for name in (COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_MODULE_TO_ENV_CONNECTOR):
        path = policy.path / "env_runner" / name
        pipeline = getattr(
            runner,
            "_env_to_module" if name == COMPONENT_ENV_TO_MODULE_CONNECTOR else "_module_to_env",
        )
        pipeline.restore_from_path(str(path))
    assert runner.module is not None
    runner.module.set_state(policy.module.get_state())
    for _ in range(num_episodes):
        [episode] = runner.sample(num_episodes=1, explore=False)
        info = episode.get_infos(-1)
        yield Episodes(
            np.array([episode.get_return()]),
            np.array([len(episode)]),
            np.array([float(info["success"])]) if "success" in info else None,
        )
    runner.stop()
