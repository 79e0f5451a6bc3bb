"""What tokens attend to: those of their segment, or the last W. They do so chunk by chunk."""

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.fast.ops import take
from rllib_elmur.model.fast.packed import Packing
from rllib_elmur.model.state import State


class OwnSegment:
    """Attention inside a segment (the paper's): chunks are segments, nothing comes from before.

    Args:
        config: The model's.
        state: The state before the call.
        packing: Its rows.
    """

    @staticmethod
    def look_back(clock: np.ndarray, config: ELMURConfig) -> np.ndarray:
        """How many tokens before it the token at time step `clock` sees."""
        return clock % config.segment_length

    def __init__(self, config: ELMURConfig, state: State, packing: Packing):
        self._nothing = state.context[:, 0]  # (B, 0, d)

    def around(self, i: int, segments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the tokens of segments (N, L, d) leave for attention in layer i.

        Returns:
            The tokens of chunks, (N_c, C, d), what those of each chunk attend to, (N_c, K, d), and
            the context of each row's open segment, (B, W - 1, d).
        """
        return segments, segments, self._nothing

    def hide(self, position: Tensor) -> Tensor:
        """Takes what came before an episode out of position logits (N_c, K, C H)."""
        return position

    def of_tokens(self, of_chunks: Tensor) -> Tensor:
        """What the tokens of chunks have, (N_c C, ...), in the order of those of segments."""
        return of_chunks


class Window(OwnSegment):
    """Attention to the last W tokens (`attention_window`), of whatever segment."""

    @staticmethod
    def look_back(clock: np.ndarray, config: ELMURConfig) -> np.ndarray:
        """How many tokens before it the token at time step `clock` sees."""
        return np.minimum(clock, config.n_before)

    def __init__(self, config: ELMURConfig, state: State, packing: Packing):
        self._state, self._n_before = state, config.n_before
        length, size = config.segment_length, config.chunk_length
        device = state.clock.device
        # Chunks stand row by row; those of a row begin with its first segment.
        n_chunks = (packing.filled - 1) // size + 1  # (B,)
        row = torch.arange(len(n_chunks), device=device)
        total = sum(packing.active[:: size // length])  # known here: no wait for the device
        row = row.repeat_interleave(n_chunks, output_size=total)  # (N_c,)
        first = n_chunks.cumsum(0) - n_chunks
        begin = (torch.arange(len(row), device=device) - first[row]) * size
        place = begin[:, None] + torch.arange(-self._n_before, size, device=device)  # (N_c, K)
        self._seen = self._source(packing, row, place, length)
        self._missing = (place + (state.clock - packing.phase)[row, None] < 0)[..., None]
        own = packing.position(length)  # (N, L)
        self._own = (first[packing.row, None] * size + own).flatten()
        open_begin = packing.filled[:, None] // length * length
        before = open_begin + torch.arange(-self._n_before, 0, device=device)  # (B, W - 1)
        self._behind = self._source(
            packing, torch.arange(len(first), device=device), before, length
        )

    def _source(self, packing: Packing, row: Tensor, place: Tensor, length: int) -> Tensor:
        """Where tokens at `place` of their rows lie in the rows' contexts and packed segments.

        Those that a row does not have lie anywhere: no token of the row sees them.
        """
        n_context, n_packed = len(packing.rank) * self._n_before, len(packing.row) * length
        packed = packing.locate(packing.rank[row], place, length).clamp(max=n_packed - 1)
        in_context = (row[:, None] + 1) * self._n_before + place
        return torch.where(place < 0, in_context, n_context + packed)

    def around(self, i: int, segments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens of chunks, and these with the tokens before them; see `OwnSegment.around`."""
        context = self._state.context[:, i].to(segments.dtype)
        tokens = torch.cat([context.flatten(0, 1), segments.flatten(0, 1)])
        seen = take(tokens, self._seen)
        return seen[:, self._n_before :], seen, take(tokens, self._behind)

    def hide(self, position: Tensor) -> Tensor:
        """Takes what came before an episode out of position logits (N_c, K, C H)."""
        return position.masked_fill(self._missing, -torch.inf)

    def of_tokens(self, of_chunks: Tensor) -> Tensor:
        """What the tokens of chunks have, (N_c C, ...), in the order of those of segments."""
        return take(of_chunks, self._own)
