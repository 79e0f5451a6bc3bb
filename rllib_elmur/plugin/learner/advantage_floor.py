"""Advantages that are not scaled up where nothing is left to gain."""

from typing import Any, cast

from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID

from rllib_elmur.plugin.learner.options import LearnerOptions
from rllib_elmur.plugin.learner.values import values_of
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.module import ELMURTorchRLModule


class AdvantageFloor(PPOTorchLearner):
    """Divides advantages by `advantage_std_floor` where their standard deviation is smaller.

    RLlib divides advantages by their standard deviation. Of a solved task that is the errors of the
    value function, which thus become steps as large as those that found the task's solution.
    """

    known_options = frozenset({"advantage_std_floor"})

    @override(PPOTorchLearner)
    def compute_loss_for_module(
        self, *, module_id: ModuleID, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The algorithm's loss."""
        module = cast("MemoryModule", self.module[module_id].unwrapped())
        floor = LearnerOptions.of(config).advantage_std_floor
        if floor and isinstance(module, ELMURTorchRLModule):
            # Those of the batch come scaled; targets less values are as large as they were.
            errors = batch[Columns.VALUE_TARGETS] - values_of(module, batch, fwd_out)
            errors = errors[batch[Columns.LOSS_MASK].bool()]
            scale = (errors.std(correction=0) / floor).clamp(max=1.0)
            batch = {**batch, Columns.ADVANTAGES: batch[Columns.ADVANTAGES] * scale}
        return super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
