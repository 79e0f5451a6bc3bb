"""The check that what a policy reads and computes is finite."""

import math
from typing import Any

import torch
from torch import Tensor

from rllib_elmur.model.nested import values_of


def require_finite(features: Tensor, observation: Any, environment: str) -> None:
    """Raises a ValueError that says which part of an observation is not finite.

    Args:
        features: What the network made of it.
        observation: Tensors (B, ...), nested as the space is.
        environment: How the message calls what returned the observation.
    """
    if math.isfinite(features.sum().item()):  # one that is not finite makes the sum so
        return
    for path, value in values_of(observation):
        bad = ~torch.isfinite(value.float())
        if bad.any():
            row = int(bad.flatten(1).any(1).nonzero()[0])
            raise ValueError(
                f"observation{path} contains {value[row][bad[row]][0].item()} (row {row} of the "
                f"batch): {environment} returned it. Observations must be finite."
            )
    raise ValueError(
        "The policy's features are not finite though the observation is: its weights diverged."
    )
