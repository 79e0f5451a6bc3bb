"""The env runner whose pipelines keep the state of running episodes in one live batch."""

from typing import Any, cast

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.annotations import override

from rllib_elmur.plugin import default_pieces, dense_state
from rllib_elmur.plugin.connectors import AddSnapshots, BatchToEnv, BatchToModule
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.obstacles import obstacle
from rllib_elmur.plugin.rllib_internals import (
    OwnSampling,
    RunnerInternals,
    pipelines,
)
from rllib_elmur.plugin.rollout import Rollout


class ELMUREnvRunner(OwnSampling, SingleAgentEnvRunner):
    """RLlib's env runner with sparse state (`rllib_elmur.plugin.connectors`).

    RLlib builds the pipelines with the user's pieces in their places; then pieces of this package
    take the place of RLlib's default ones. Where nobody looks at episodes between their steps (no
    connector of the user's, no `on_episode_step`), a loop of this package samples (`Rollout`).

    Where this version of RLlib is not as expected, or the learner would not understand snapshots,
    all stays RLlib's, with STATE_OUT at each step, and one warning says so.

    Raises:
        ValueError: If the config is one of several agents, or asks for recordings.
    """

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
        self._rollout_pieces: tuple[BatchToModule, BatchToEnv] | None = None
        if not isinstance(self.module, ELMURTorchRLModule):
            return
        reason = obstacle(self)
        if reason is None:
            self._use_sparse_state()
        elif not self.worker_index:  # the driver's, which every algorithm has
            dense_state.warn(reason, self.module)

    def _use_sparse_state(self) -> None:
        """Puts this package's pieces in the place of RLlib's default ones."""
        config, module = self.config, cast("ELMURTorchRLModule", self.module)
        env_to_module, module_to_env = pipelines(self)
        to_module = BatchToModule()
        to_module.device = next(module.parameters()).device
        before = default_pieces.user_pieces_to_module(env_to_module.connectors)
        after = default_pieces.user_pieces_to_env(module_to_env.connectors)
        env_to_module.connectors[:] = before
        env_to_module.append(to_module)
        if after:
            module_to_env.insert_after(default_pieces.FROM_MODULE[-1], AddSnapshots())
            return
        to_env = BatchToEnv(
            normalize_actions=bool(config.normalize_actions), clip_actions=bool(config.clip_actions)
        )
        module_to_env.connectors.clear()
        module_to_env.append(to_env)
        if not before and self.episodes_to_numpy and not _watches_steps(config):
            self._rollout_pieces = to_module, to_env

    @override(OwnSampling)
    def sample_episodes(self, **request: Any) -> list[Any]:
        """Runs the environments for so many time steps or episodes; returns the episodes."""
        if self._rollout_pieces is None or request.get("random_actions", False):
            return super().sample_episodes(**request)
        request.pop("random_actions", None)
        explore, force_reset = request["explore"], request.pop("force_reset", False)
        RunnerInternals(self).reset_if_due(explore, force_reset, request.get("num_episodes"))
        return Rollout(self, *self._rollout_pieces, **request).run()


def _watches_steps(config: Any) -> bool:
    """Whether a callback of the config looks at episodes between their steps."""
    classes = config.callbacks_class
    classes = classes if isinstance(classes, (list, tuple)) else [classes]
    return config.callbacks_on_episode_step is not None or any(
        # A factory of callbacks has no such attribute, and may make anything.
        getattr(made, "on_episode_step", None) is not RLlibCallback.on_episode_step
        for made in classes
    )
