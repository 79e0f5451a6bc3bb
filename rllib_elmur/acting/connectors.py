"""A policy behind connectors that only RLlib can run: its pipelines on the running episodes."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_elmur.acting.inputs import Step
from rllib_elmur.acting.module import require_allowed
from rllib_elmur.plugin.ray_files import pipelines_of
from rllib_elmur.plugin.rllib_internals import freeze_filters

_STEPS_KEPT = 100  # of a running episode: far enough back for connectors that stack observations


class Pipelines:
    """The pipelines of a training, with what they had learned, frozen.

    Args:
        config: The AlgorithmConfig of the training.
        checkpoint: Where their states are.
        observation_space: Of the environment.
        action_space: Of the environment.
    """

    def __init__(
        self, config: Any, checkpoint: Path, observation_space: gym.Space, action_space: gym.Space
    ):
        self.spaces = observation_space, action_space
        stand_in = _StandIn(*self.spaces)
        spaces = {
            INPUT_ENV_SPACES: (stand_in.observation_space, stand_in.action_space),
            INPUT_ENV_SINGLE_SPACES: self.spaces,
        }
        # A stand-in would pass for an environment of one agent.
        env = None if config.is_multi_agent else stand_in
        self.to_module = config.build_env_to_module_connector(env, spaces, torch.device("cpu"))
        self.to_env = config.build_module_to_env_connector(env, spaces)
        pipelines = self.to_module, self.to_env
        # Pipelines that were not saved have learned nothing.
        for pipeline, folder in zip(pipelines, pipelines_of(checkpoint) or (), strict=False):
            pipeline.restore_from_path(folder)
        for pipeline in pipelines:
            freeze_filters(pipeline)
        self._learned = {p: copy.deepcopy(p.get_state()) for p in pipelines}
        self._shared: dict[str, Any] = {}
        self._metrics = MetricsLogger()

    def run(
        self, pipeline: ConnectorV2, module: Any, batch: Any, episodes: list[Any], **given: Any
    ) -> Any:
        """Runs one of them; `given` is what RLlib's env runner hands in beside."""
        batch = pipeline(
            rl_module=module,
            batch=batch,
            episodes=episodes,
            shared_data=self._shared,
            metrics=self._metrics,
            **given,
        )
        if self._learned[pipeline]:
            pipeline.set_state(copy.deepcopy(self._learned[pipeline]))
        return batch


class _StandIn(VectorEnv):
    """An environment's spaces, for builders of connectors that ask an environment for them."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space):
        self.num_envs = 1
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space)
        self.action_space = batch_space(action_space)


class ConnectorActor:
    """Keeps the running episodes for the connectors of the training, as RLlib's env runner does.

    Args:
        module: The module.
        pipelines: Those before and behind it.
        connectors: Those that only RLlib can run.
        reads_reward: Whether a connector may read rewards.
    """

    def __init__(
        self, module: Any, pipelines: Pipelines, connectors: list[Any], reads_reward: bool
    ):
        self.reads_reward = reads_reward
        self.needs_ray: str | None = f"the connector {type(connectors[0]).__name__}"
        self._module, self._pipelines = module, pipelines
        self._episodes: dict[int, SingleAgentEpisode] = {}
        # What the policy chose last in each row, and what else the module said with it.
        self._chosen: dict[int, tuple[Any, dict[str, Any]]] = {}

    def begin(self, rows: np.ndarray, n_rows: int) -> None:
        """Forgets the episodes of some rows."""
        for row in rows.tolist():
            self._episodes.pop(row, None)
            self._chosen.pop(row, None)

    def act(self, step: Step, explore: bool) -> Any:
        """Returns the environment's next actions, (B, ...)."""
        rows, observations = step.rows.tolist(), unbatch(step.observation)
        rewards = [0.0] * len(rows) if step.reward is None else step.reward.tolist()
        infos = _infos(step.info, len(rows))
        for row, *items in zip(rows, observations, rewards, infos, step.ended, strict=True):
            self._add(row, *items)
        episodes = [self._episodes[row] for row in rows]
        given = {Columns.OBS: observations, Columns.REWARDS: rewards, Columns.INFOS: infos}
        to_module, to_env = self._pipelines.to_module, self._pipelines.to_env
        with torch.inference_mode():
            batch = self._pipelines.run(
                to_module, self._module, {}, episodes, explore=explore, **given
            )
            require_allowed(self._module, batch[Columns.OBS], ~step.ended[:, None])
            forward = self._module.forward_inference
            outputs = (self._module.forward_exploration if explore else forward)(batch)
            outputs = self._pipelines.run(to_env, self._module, outputs, episodes, explore=explore)
        actions = outputs.pop(Columns.ACTIONS)
        for_env = outputs.pop(Columns.ACTIONS_FOR_ENV, actions)
        for i, (row, action) in enumerate(zip(rows, unbatch(actions), strict=True)):
            self._chosen[row] = action, {name: column[i] for name, column in outputs.items()}
        return for_env

    def _add(self, row: int, observation: Any, reward: Any, info: Any, ended: Any) -> None:
        """Adds a time step to the episode of a row, or begins it."""
        if row not in self._episodes:
            space, action_space = self._pipelines.spaces
            episode = SingleAgentEpisode(observation_space=space, action_space=action_space)
            episode.add_env_reset(observation, info)
        else:
            episode, (action, outputs) = self._episodes[row], self._chosen[row]
            episode.add_env_step(
                observation,
                action,
                reward,
                info,
                terminated=bool(ended),
                extra_model_outputs=outputs,
            )
            if len(episode) >= _STEPS_KEPT and not episode.is_done:
                # A recurrent state is stored with every step.
                episode = episode.cut(_STEPS_KEPT)
        self._episodes[row] = episode


def _infos(info: Any, n: int) -> list[dict[str, Any]]:
    """The info of each of n episodes: from a list, or from what a vector environment returns."""
    if info is None:
        return [{} for _ in range(n)]
    return [_info_of(info, row) for row in range(n)] if isinstance(info, dict) else list(info)


def _info_of(infos: dict[str, Any], row: int) -> dict[str, Any]:
    info = {}
    for name, values in infos.items():
        present = infos.get(f"_{name}")
        if not name.startswith("_") and (present is None or present[row]):
            info[name] = _info_of(values, row) if isinstance(values, dict) else values[row]
    return info
