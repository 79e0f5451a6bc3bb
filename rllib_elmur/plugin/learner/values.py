"""What the value function says of a train batch, to compute with and not to train."""

from typing import Any

import torch
from ray.rllib.core.columns import Columns

from rllib_elmur.plugin.memory_module import MemoryModule


@torch.no_grad()
def values_of(module: MemoryModule, batch: dict[str, Any], fwd_out: dict[str, Any]) -> torch.Tensor:
    """Values (B, T) by the module's present weights."""
    return module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
