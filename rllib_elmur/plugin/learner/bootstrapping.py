"""V-trace that bootstraps where a rollout fragment ends."""

from typing import Any, cast

import torch
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID

from rllib_elmur.plugin.learner.values import values_of
from rllib_elmur.plugin.memory_module import MemoryModule


class Bootstrapping(IMPALATorchLearner):
    """Gives the last target of a rollout fragment the value of what comes after the fragment.

    RLlib appends one time step to each fragment, masked, whose value is the bootstrap. Its V-trace
    gives that step a temporal difference of minus this value, which cancels it in the targets of
    the fragment: an episode that goes on counts as one that is over. With the value itself as the
    step's reward the difference is zero.
    """

    @override(IMPALATorchLearner)
    def compute_loss_for_module(
        self, *, module_id: ModuleID, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The algorithm's loss."""
        module = cast("MemoryModule", self.module[module_id].unwrapped())
        values = values_of(module, batch, fwd_out)
        rewards = torch.where(batch[Columns.LOSS_MASK].bool(), batch[Columns.REWARDS], values)
        return super().compute_loss_for_module(
            module_id=module_id,
            config=config,
            batch={**batch, Columns.REWARDS: rewards},
            fwd_out=fwd_out,
        )
