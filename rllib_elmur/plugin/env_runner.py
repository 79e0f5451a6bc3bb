"""The env runner whose pipelines keep the state of running episodes in one live batch."""

import math
from typing import Any, cast

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    BatchIndividualItems,
    NumpyToTensor,
    TensorToNumpy,
)
from ray.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
from ray.rllib.connectors.module_to_env import (
    GetActions,
    ListifyDataForVectorEnv,
    NormalizeAndClipActions,
    RemoveSingleTsTimeRankFromBatch,
    UnBatchToIndividualItems,
)
from ray.rllib.core.columns import Columns
from ray.rllib.env.env_runner import ENV_STEP_FAILURE
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import RLMODULE_INFERENCE_TIMER, WEIGHTS_SEQ_NO

from rllib_elmur.plugin.columns import SNAPSHOTS
from rllib_elmur.plugin.connectors import (
    AddSnapshots,
    BatchToEnv,
    BatchToModule,
    clocks_of,
    snapshots_of,
)
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.recorder import Recorder, cut, item
from rllib_elmur.plugin.train_rows import LearnerConnectorBuilder

_TO_MODULE = [
    AddObservationsFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AddStatesFromEpisodesToBatch,
    BatchIndividualItems,
    NumpyToTensor,
]
_FROM_MODULE = [
    GetActions,
    TensorToNumpy,
    UnBatchToIndividualItems,
    RemoveSingleTsTimeRankFromBatch,
]
_TO_ENV = [NormalizeAndClipActions, ListifyDataForVectorEnv]


class ELMUREnvRunner(SingleAgentEnvRunner):
    """RLlib's env runner with sparse state (`rllib_elmur.plugin.connectors`).

    RLlib builds the pipelines, pieces of the user's in their places; then this runner replaces
    RLlib's default pieces. Where these are not what it expects, where the module is not ELMUR's or
    the learner would not understand snapshots, all stays RLlib's, with STATE_OUT at each step.

    Where nobody looks at episodes between their steps (no connector of the user's, no
    `on_episode_step`), they get their steps in one piece.

    Raises:
        ValueError: If the config is one of several agents, or asks for recordings.
    """

    _ongoing_episodes: list[Any]
    _shared_data: Any

    def __init__(self, *, config: Any, **kwargs: Any):
        if config.is_multi_agent:
            raise ValueError(
                "env_runner_cls=ELMUREnvRunner is for one agent: call `use_elmur` after "
                "`config.multi_agent(...)`, or `config.env_runners(env_runner_cls=None)`."
            )
        if config.output:
            raise ValueError(
                f"output={config.output!r}: RLlib records episodes with an env runner of its own. "
                "Set `config.env_runners(env_runner_cls=None)` after `use_elmur`."
            )
        super().__init__(config=config, **kwargs)
        self._pieces: tuple[BatchToModule, BatchToEnv] | None = None
        env_to_module = cast("ConnectorPipelineV2", self._env_to_module)
        module_to_env = cast("ConnectorPipelineV2", self._module_to_env)
        to_module, to_env = env_to_module.connectors, module_to_env.connectors
        if (
            not isinstance(self.module, ELMURTorchRLModule)
            or not isinstance(config._learner_connector, LearnerConnectorBuilder)
            or _types(to_module[-len(_TO_MODULE) :]) != _TO_MODULE
            or _types(to_env[: len(_FROM_MODULE)]) != _FROM_MODULE
            or _types(to_env[-len(_TO_ENV) :]) != _TO_ENV
        ):
            return
        batch_to_module = BatchToModule()
        batch_to_module.device = self._device
        del to_module[-len(_TO_MODULE) :]
        env_to_module.append(batch_to_module)
        if len(to_env) > len(_FROM_MODULE) + len(_TO_ENV):
            module_to_env.insert_after(_FROM_MODULE[-1], AddSnapshots())
            return
        batch_to_env = BatchToEnv(
            normalize_actions=config.normalize_actions, clip_actions=config.clip_actions
        )
        to_env.clear()
        module_to_env.append(batch_to_env)
        looked_at = config.callbacks_on_episode_step is not None or any(
            type(callbacks).on_episode_step is not RLlibCallback.on_episode_step
            for callbacks in self._callbacks
        )
        if len(to_module) == 1 and not looked_at and self.episodes_to_numpy:
            self._pieces = batch_to_module, batch_to_env

    @override(SingleAgentEnvRunner)
    def _sample(
        self,
        *,
        num_timesteps: Any = None,
        num_episodes: Any = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Any]:
        """Runs the environments for so many time steps or episodes; returns the episodes."""
        if self._pieces is None or random_actions:
            return super()._sample(
                num_timesteps=num_timesteps,
                num_episodes=num_episodes,
                explore=explore,
                random_actions=random_actions,
                force_reset=force_reset,
            )
        if force_reset or num_episodes is not None or self._needs_initial_reset:
            self._reset_envs_and_episodes(explore)
        if num_episodes is not None:
            self._needs_initial_reset = True
        # Evaluation beside training asks for a fraction of a step now and then.
        expected = 0 if num_timesteps is None else math.ceil(num_timesteps / self.num_envs) + 8
        recorder = Recorder(self.num_envs, expected)
        # Time steps of each episode, -1 while its environment is reset; those of its fragment.
        steps, lengths = clocks_of(self._ongoing_episodes)
        n_steps, done = 0, []
        while len(done) < num_episodes if num_timesteps is None else n_steps < num_timesteps:
            columns = self._act(steps, lengths, explore, n_steps)
            results = self._try_env_step(columns.pop(Columns.ACTIONS_FOR_ENV))
            if results == ENV_STEP_FAILURE:
                self._reset_envs_and_episodes(explore)
                recorder = Recorder(self.num_envs, expected)
                steps[:] = lengths[:] = n_steps = 0
                continue
            observations, rewards, terminateds, truncateds, infos = results
            columns |= {
                Columns.OBS: observations,
                Columns.REWARDS: rewards,
                Columns.TERMINATEDS: terminateds,
                Columns.TRUNCATEDS: truncateds,
            }
            recorder.add(infos, columns)
            stepped = steps >= 0
            n_steps += int(stepped.sum())
            lengths += stepped
            steps += 1  # -1 becomes 0: the reset observation
            self._cached_to_module = self._to_module(observations, steps)
            for i in (~stepped).nonzero()[0]:
                self._ongoing_episodes[i].add_env_reset(
                    observation=item(observations, i), infos=infos[i]
                )
                recorder.begin(i)
                self._make_on_episode_callback("on_episode_start", i, self._ongoing_episodes)
            for i in (stepped & (terminateds | truncateds)).nonzero()[0]:
                episode = self._ongoing_episodes[i]
                recorder.hand_over(episode, i)
                self._make_on_episode_callback("on_episode_end", i, self._ongoing_episodes)
                done.append(episode)
                self._new_episode(i, self._ongoing_episodes)
                steps[i], lengths[i] = -1, 0
                if len(done) == num_episodes:
                    break
        self._done_episodes_for_metrics.extend(done)
        ongoing = [] if num_timesteps is None else self._end_fragment(recorder)
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=n_steps)
        self._increase_sampled_metrics(n_steps, len(done))
        return done + ongoing

    def _act(
        self, steps: np.ndarray, lengths: np.ndarray, explore: bool, n_steps: int
    ) -> dict[str, Any]:
        """The columns of the next time step as far as the module makes them, (B, ...)."""
        to_module, self._cached_to_module = self._cached_to_module, None
        module: Any = self.module
        with self.metrics.log_time(RLMODULE_INFERENCE_TIMER):
            if explore:
                n_runners = self.config.num_env_runners or 1
                t = (self.num_env_steps_sampled_lifetime // n_runners + n_steps) * n_runners
                outputs = module.forward_exploration(to_module, t=t)
            else:
                outputs = module.forward_inference(to_module)
        _, batch_to_env = cast("tuple[BatchToModule, BatchToEnv]", self._pieces)
        columns = batch_to_env.arrays(module, outputs, self._ongoing_episodes, explore)
        columns.setdefault(Columns.ACTIONS_FOR_ENV, columns[Columns.ACTIONS])
        snapshots = np.empty(self.num_envs, object)
        snapshots[:] = snapshots_of(module, steps, lengths, self._shared_data)
        columns[SNAPSHOTS] = snapshots
        columns[WEIGHTS_SEQ_NO] = np.full(self.num_envs, self._weights_seq_no)
        return columns

    def _to_module(self, observations: Any, steps: np.ndarray) -> dict[str, Any]:
        batch_to_module, _ = cast("tuple[BatchToModule, BatchToEnv]", self._pieces)
        columns = {Columns.OBS: observations}
        return batch_to_module.batch(self.module, columns, steps, self._shared_data)

    def _end_fragment(self, recorder: Recorder) -> list[Any]:
        """Hands their steps to all running episodes and goes on with their continuations."""
        ongoing = []
        for i, episode in enumerate(self._ongoing_episodes):
            if episode.is_reset:
                recorder.hand_over(episode, i)
            lookback: Any = self.config.episode_lookback_horizon
            self._ongoing_episodes[i] = cut(episode, lookback)
            if episode.t > 0:
                self._ongoing_episodes_for_metrics[episode.id_].append(episode)
                ongoing.append(episode.to_numpy())
        return ongoing


def _types(pieces: list[Any]) -> list[type]:
    return [type(piece) for piece in pieces]
