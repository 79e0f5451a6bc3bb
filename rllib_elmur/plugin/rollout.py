"""The loop of sampling, where nobody looks at episodes between their steps."""

import math
from typing import Any, cast

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.env_runner import ENV_STEP_FAILURE
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import RLMODULE_INFERENCE_TIMER, WEIGHTS_SEQ_NO

from rllib_elmur.plugin.columns import LIVE_BATCH
from rllib_elmur.plugin.connectors import BatchToEnv, BatchToModule, clocks_of, snapshots_of
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.recorder import Recorder, cut, item
from rllib_elmur.plugin.rllib_internals import RunnerInternals
from rllib_elmur.plugin.snapshots import SNAPSHOTS


class Rollout:
    """The steps of one call of `sample`, taken by all environments and recorded by column.

    RLlib's loop hands each step to each episode and puts all of them through its pipelines.

    Args:
        runner: The env runner, whose environments have been reset or go on.
        to_module: The only piece of the env-to-module pipeline.
        to_env: The only piece of the module-to-env pipeline.
        explore: Whether the policy explores.
        num_timesteps: Env steps to take; None: as many as `num_episodes` need.
        num_episodes: Episodes to end.
    """

    def __init__(
        self,
        runner: SingleAgentEnvRunner,
        to_module: BatchToModule,
        to_env: BatchToEnv,
        *,
        explore: bool,
        num_timesteps: float | None = None,
        num_episodes: int | None = None,
    ):
        self._runner, self._internals = runner, RunnerInternals(runner)
        self._to_module, self._to_env, self._explore = to_module, to_env, explore
        self._num_timesteps, self._num_episodes = num_timesteps, num_episodes
        # Evaluation beside training asks for a fraction of a step now and then.
        steps = 0 if num_timesteps is None else math.ceil(num_timesteps / runner.num_envs) + 8
        self._expected = steps
        self._ended: list[Any] = []
        self._begin()

    def _begin(self) -> None:
        self._recorder = Recorder(self._runner.num_envs, self._expected)
        # Time steps of each episode, -1 while its environment is reset; those of its fragment.
        self._steps, self._lengths = clocks_of(self._internals.episodes)
        self._n_steps = 0

    def run(self) -> list[Any]:
        """Takes the steps; returns the ended episodes, and fragments of those that go on."""
        while self._goes_on():
            self._step()
        going_on = [] if self._num_timesteps is None else self._end_fragments()
        self._internals.count(self._n_steps, self._ended, going_on)
        return self._ended + going_on

    def _goes_on(self) -> bool:
        if self._num_timesteps is None:
            return len(self._ended) < (self._num_episodes or 0)
        return self._n_steps < self._num_timesteps

    def _step(self) -> None:
        columns = self._act()
        results = self._internals.step(columns.pop(Columns.ACTIONS_FOR_ENV))
        if results == ENV_STEP_FAILURE:
            self._internals.reset(self._explore)
            self._begin()
            return
        observations, rewards, terminateds, truncateds, infos = results
        columns |= {
            Columns.OBS: observations,
            Columns.REWARDS: rewards,
            Columns.TERMINATEDS: terminateds,
            Columns.TRUNCATEDS: truncateds,
        }
        self._recorder.add(infos, columns)
        stepped = self._steps >= 0
        over = stepped & (terminateds | truncateds)
        self._n_steps += int(stepped.sum())
        self._lengths += stepped
        self._steps += 1  # -1 becomes 0: the reset observation
        self._internals.keep_module_input(
            self._to_module.batch(
                cast("MemoryModule", self._runner.module),
                {Columns.OBS: observations},
                self._steps,
                ~over,
                self._internals.shared_data,
            )
        )
        for i in (~stepped).nonzero()[0]:
            self._begin_episode(i, item(observations, i), infos[i])
        for i in over.nonzero()[0]:
            self._end_episode(i)
            if len(self._ended) == self._num_episodes:
                break

    def _act(self) -> dict[str, Any]:
        """The columns of the next time step as far as the module makes them, (B, ...)."""
        runner, internals = self._runner, self._internals
        module = cast("MemoryModule", runner.module)
        to_module = internals.take_module_input()
        with runner.metrics.log_time(RLMODULE_INFERENCE_TIMER):
            if self._explore:
                t = internals.steps_of_all_runners(self._n_steps)
                outputs = module.forward_exploration(to_module, t=t)
            else:
                outputs = module.forward_inference(to_module)
        rl_module = cast("RLModule", runner.module)
        columns = self._to_env.arrays(rl_module, outputs, internals.episodes, self._explore)
        columns.setdefault(Columns.ACTIONS_FOR_ENV, columns[Columns.ACTIONS])
        snapshots = np.empty(runner.num_envs, object)
        live = internals.shared_data[LIVE_BATCH]
        snapshots[:] = snapshots_of(module, live, self._steps, self._lengths)
        columns[SNAPSHOTS] = snapshots
        columns[WEIGHTS_SEQ_NO] = np.full(runner.num_envs, internals.weights_seq_no)
        return columns

    def _begin_episode(self, env_index: int, observation: Any, info: dict[str, Any]) -> None:
        episode = self._internals.episodes[env_index]
        episode.add_env_reset(observation=observation, infos=info)
        self._recorder.begin(env_index)
        self._internals.call_back("on_episode_start", env_index)

    def _end_episode(self, env_index: int) -> None:
        episode = self._internals.episodes[env_index]
        self._recorder.hand_over(episode, env_index)
        self._internals.call_back("on_episode_end", env_index)
        self._ended.append(episode)
        self._internals.begin_episode(env_index)
        self._steps[env_index], self._lengths[env_index] = -1, 0

    def _end_fragments(self) -> list[Any]:
        """Hands their steps to all running episodes and goes on with their continuations."""
        going_on, episodes = [], self._internals.episodes
        lookback: Any = self._runner.config.episode_lookback_horizon
        for i, episode in enumerate(episodes):
            if episode.is_reset:
                self._recorder.hand_over(episode, i)
            episodes[i] = cut(episode, lookback)
            if episode.t > 0:
                going_on.append(episode.to_numpy())
        return going_on
