"""Advantages that are not scaled up where nothing is left to gain."""

from typing import Any, cast

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID
from torch import Tensor

from rllib_elmur.plugin.learner.options import LearnerOptions
from rllib_elmur.plugin.learner.values import values_of
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.module import ELMURTorchRLModule


class AdvantageFloor(PPOTorchLearner):
    """Does not scale advantages up where the value function explains nearly all of the returns.

    RLlib divides advantages by their standard deviation. Of a solved task that is the errors of the
    value function, which thus become steps as large as those that found the task's solution: they
    shake what was learned until it is lost. Advantages of a value function that knows nothing are
    returns; where those of the present one deviate less than `advantage_floor` times as much, they
    are divided by that product instead. So the floor has no scale of its own: of a task that is not
    solved yet the two deviate about alike, of a solved one they may differ a hundredfold.
    """

    known_options = frozenset({"advantage_floor"})

    @override(PPOTorchLearner)
    def compute_loss_for_module(
        self, *, module_id: ModuleID, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The algorithm's loss."""
        module = cast("MemoryModule", self.module[module_id].unwrapped())
        floor = LearnerOptions.of(config).advantage_floor
        if floor and isinstance(module, ELMURTorchRLModule):
            values, discount = values_of(module, batch, fwd_out), config.gamma * config.lambda_
            scale = scale_of(batch, values, floor, discount)
            batch = {**batch, Columns.ADVANTAGES: batch[Columns.ADVANTAGES] * scale}
        return super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )


def scale_of(batch: dict[str, Any], values: Tensor, floor: float, discount: float) -> Tensor:
    """What to multiply standardised advantages by, at most 1; a scalar.

    Args:
        batch: A train batch, of which rewards, value targets and the loss mask are read, (B, T).
        values: By the value function, (B, T).
        floor: `advantage_floor`.
        discount: That of generalised advantage estimation, gamma times lambda.
    """
    mask = batch[Columns.LOSS_MASK].bool()
    # The batch's advantages have a deviation of 1; targets less values have their own.
    advantages = batch[Columns.VALUE_TARGETS] - values
    returns = _returns(batch[Columns.REWARDS] * mask, discount)
    least = floor * returns[mask].std(correction=0)
    share = advantages[mask].std(correction=0) / least
    return share.nan_to_num(1.0).clamp(max=1.0)  # 1 where there is no reward


def _returns(rewards: Tensor, discount: float) -> Tensor:
    """Discounted sums of rewards (B, T) up to the end of each row, (B, T)."""
    time = torch.arange(rewards.shape[1], device=rewards.device)
    ahead = time[:, None] - time  # (T, T): how long the column's step waits for the row's reward
    weights = (discount ** ahead.clamp(min=0)).tril()
    return rewards @ weights.to(rewards.dtype)
