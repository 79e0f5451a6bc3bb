"""Says where a training with one of this package's learners goes RLlib's plain way."""

from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override

from rllib_elmur.plugin import dense_state
from rllib_elmur.plugin.env_runner import ELMUREnvRunner
from rllib_elmur.plugin.module import ELMURTorchRLModule


class StateWatch(TorchLearner):
    """Warns of an env runner that stores the state at each step, which cannot do so itself."""

    @override(TorchLearner)
    def build(self) -> None:
        """Builds the learner."""
        super().build()
        if self.config.is_multi_agent:
            reason = dense_state.SEVERAL_AGENTS
        elif not issubclass(self.config.env_runner_cls or object, ELMUREnvRunner):
            reason = dense_state.other_env_runner(self.config.env_runner_cls)
        else:
            return
        modules = [module.unwrapped() for _, module in self.module.items()]
        elmurs = [module for module in modules if isinstance(module, ELMURTorchRLModule)]
        if elmurs:
            dense_state.warn(reason, elmurs[0])
