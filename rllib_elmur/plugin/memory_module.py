"""What env runners, connectors and learners need of a module with ELMUR's memory."""

from typing import Any, Protocol

from torch import Tensor

from rllib_elmur.model.action_mask import ActionMask, NoMask
from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.model.network import PolicyNetwork


class MemoryModule(Protocol):
    """The part of `ELMURTorchRLModule` that the rest of the plugin calls."""

    network: PolicyNetwork
    model_config: Any
    observation_space: Any
    action_space: Any
    mask: NoMask | ActionMask

    def get_live_batch(self, batch_size: int) -> LiveBatch:
        """Episodes at their start whose state is advanced in place."""
        ...

    def forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Acts without exploration."""
        ...

    def forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Acts with exploration."""
        ...

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values (B, T)."""
        ...
