"""The env runner of several agents whose pipelines keep the agents' states in live batches."""

from dataclasses import replace
from typing import Any

from ray.rllib.connectors.common import AgentToModuleMapping
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils.annotations import override

from rllib_elmur.plugin import default_pieces, dense_state
from rllib_elmur.plugin.agents.lookback import carry_last_steps, episodes_of_agents
from rllib_elmur.plugin.agents.to_env import AddAgentSnapshots, AgentsToEnv
from rllib_elmur.plugin.agents.to_module import AgentsToModules
from rllib_elmur.plugin.columns import LIVE_BATCH
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.obstacles import obstacle
from rllib_elmur.plugin.rllib_internals import (
    OwnSampling,
    RunnerInternals,
    pipelines,
    waiting_outputs,
)
from rllib_elmur.plugin.snapshots import SNAPSHOTS, Snapshots, snapshot_column

_FLAGS = ("normalize_actions", "clip_actions")


class ELMURMultiAgentEnvRunner(OwnSampling, MultiAgentEnvRunner):
    """RLlib's env runner of several agents with sparse state, in RLlib's own loop.

    RLlib builds the pipelines with the user's pieces in their places; then pieces of this package
    take the place of RLlib's default ones. Where this version of RLlib is not as expected, or the
    learner would not understand snapshots, all stays RLlib's, with STATE_OUT at each step, and one
    warning says so.
    """

    def __init__(self, *, config: Any, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        elmurs = [
            module
            for module in dict((self.module or {}).items()).values()
            if isinstance(module, ELMURTorchRLModule)
        ]
        if not elmurs:
            return
        reason = obstacle(self, several_agents=True)
        if reason is None:
            self._use_sparse_state(elmurs[0])
        elif not self.worker_index:  # the driver's, which every algorithm has
            dense_state.warn(reason, elmurs[0])

    def _use_sparse_state(self, elmur: ELMURTorchRLModule) -> None:
        """Puts this package's pieces in the place of RLlib's default ones."""
        env_to_module, module_to_env = pipelines(self)
        [mapping] = [p for p in env_to_module.connectors if isinstance(p, AgentToModuleMapping)]
        _, spaces_and_modules = mapping.get_ctor_args_and_kwargs()
        to_module = AgentsToModules(**spaces_and_modules)
        to_module.device = next(elmur.parameters()).device
        before = default_pieces.user_pieces_to_module(env_to_module.connectors, several_agents=True)
        after = default_pieces.user_pieces_to_env(module_to_env.connectors, several_agents=True)
        env_to_module.connectors[:] = before
        env_to_module.append(to_module)
        if after:
            module_to_env.insert_after(default_pieces.FROM_MODULES[-1], AddAgentSnapshots())
            return
        flags = {name: bool(getattr(self.config, name)) for name in _FLAGS}
        module_to_env.connectors.clear()
        module_to_env.append(AgentsToEnv(**flags))

    @override(OwnSampling)
    def sample_episodes(self, **request: Any) -> list[Any]:
        """Runs the environments for so many time steps or episodes; returns the episodes."""
        internals, to_numpy = RunnerInternals(self), self.episodes_to_numpy
        before = episodes_of_agents(internals.episodes)
        # RLlib would convert all episodes that have ended once more after each step.
        self.episodes_to_numpy = False
        try:
            sampled = super().sample_episodes(**request)
        finally:
            self.episodes_to_numpy = to_numpy
        carry_last_steps(before | episodes_of_agents(sampled), internals.episodes)
        if LIVE_BATCH in internals.shared_data:
            self._complete_waiting(internals)
        return [episode.to_numpy() for episode in sampled] if to_numpy else sampled

    def _complete_waiting(self, internals: RunnerInternals) -> None:
        """Adds snapshots to steps that are not over, which will be the first of their fragments."""
        for states in internals.shared_data[LIVE_BATCH].values():
            waiting = {
                (episode.id_, agent_id): outputs
                for episode in internals.episodes
                for agent_id, outputs in waiting_outputs(episode).items()
                if episode.agent_episodes[agent_id].t > 0
            }
            for agent, state in states.before_last_step(waiting).items():
                taken = waiting[agent][SNAPSHOTS][()] or Snapshots()
                [waiting[agent][SNAPSHOTS]] = snapshot_column([replace(taken, before=state)])
