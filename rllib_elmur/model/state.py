"""What travels between calls."""

from typing import NamedTuple

import torch
from torch import Tensor

from rllib_elmur.config import ELMURConfig


class State(NamedTuple):
    """The recurrent state of a batch of episodes; all that a continuation needs.

    A slot whose anchor is -1 is empty: its content here is zero and never read, the model's
    initial memory stands in for it.

    Attributes:
        memory: Memory embeddings, (B, n, M, d).
        anchors: Time step at which each slot was last written, -1 if never, (B, n, M) int64.
        clock: Time steps seen since the episode's start, (B,) int64.
        segment: Tokens of the unfinished segment, (B, L, d), the episode's first one with its
            mark; zero from `clock % L` on.
        context: What the last W - 1 tokens before that segment left for each layer's attention,
            (B, n, W - 1, d), zero before the episode's start; (B, n, 0, d) without a window.
    """

    memory: Tensor
    anchors: Tensor
    clock: Tensor
    segment: Tensor
    context: Tensor

    @classmethod
    def initial(cls, batch_size: int, config: ELMURConfig, like: Tensor) -> "State":
        """The state at an episode's start, with the device and dtype of `like`."""
        c, integers = config, torch.zeros(batch_size, dtype=torch.int64, device=like.device)
        return cls(
            memory=like.new_zeros(batch_size, c.n_layers, c.memory_slots, c.d_model),
            anchors=integers.new_full((batch_size, c.n_layers, c.memory_slots), -1),
            clock=integers,
            segment=like.new_zeros(batch_size, c.segment_length, c.d_model),
            context=like.new_zeros(batch_size, c.n_layers, c.n_before, c.d_model),
        )
