"""What travels between calls."""

from typing import NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    """The recurrent state of a batch of episodes; all that a continuation needs.

    A slot whose anchor is -1 is empty: its content here is zero and never read, the model's
    initial memory stands in for it.

    Attributes:
        memory: Memory embeddings, (B, n, M, d).
        anchors: Time step at which each slot was last written, -1 if never, (B, n, M) int64.
        clock: Time steps seen since the episode's start, (B,) int64.
        segment: Tokens of the unfinished segment, (B, L, d); zero from `clock % L` on.
    """

    memory: Tensor
    anchors: Tensor
    clock: Tensor
    segment: Tensor

    @classmethod
    def initial(
        cls,
        batch_size: int,
        n_layers: int,
        memory_slots: int,
        segment_length: int,
        d_model: int,
        like: Tensor,
    ) -> "State":
        """The state at an episode's start, with the device and dtype of `like`."""
        return cls(
            memory=like.new_zeros(batch_size, n_layers, memory_slots, d_model),
            anchors=torch.full(
                (batch_size, n_layers, memory_slots), -1, dtype=torch.int64, device=like.device
            ),
            clock=torch.zeros(batch_size, dtype=torch.int64, device=like.device),
            segment=like.new_zeros(batch_size, segment_length, d_model),
        )
