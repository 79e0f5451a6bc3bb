"""What travels between calls (State) and what is derived from it (Cache)."""

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


class Cache(NamedTuple):
    """What the step schedule keeps from one token to the next; never part of the stored state.

    It depends on the weights, so `version` records those it was computed with.

    Attributes:
        keys: Self-attention keys of the open segment, (n, B, H, L, d/H).
        values: Self-attention values of the open segment, (n, B, H, L, d/H).
        outputs: What each layer made of the open segment's tokens, (n, B, L, d).
        memory_keys: Keys of the memory slots, (n, B, H, M, d/H).
        memory_values: Values of the memory slots, (n, B, H, M, d/H).
        version: Stamp of the weights.
    """

    keys: Tensor
    values: Tensor
    outputs: Tensor
    memory_keys: Tensor
    memory_values: Tensor
    version: int
