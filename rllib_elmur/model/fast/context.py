"""What the tokens of packed segments attend to: their own segment, or the last W tokens."""

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.fast.packed import Packing
from rllib_elmur.model.state import State


class OwnSegment:
    """Attention inside a segment (the paper's): nothing comes from before it.

    Args:
        state: The state before the call.
        packing: Its rows.
    """

    @staticmethod
    def look_back(clock: np.ndarray, config: ELMURConfig) -> np.ndarray:
        """How many tokens before it the token at time step `clock` sees."""
        return clock % config.segment_length

    def __init__(self, state: State, packing: Packing):
        self._nothing = state.context[:, 0]  # (B, 0, d)

    def around(self, i: int, segments: Tensor) -> tuple[Tensor, Tensor]:
        """What the tokens of segments (N, L, d) leave for attention in layer i.

        Returns:
            What the tokens of each segment attend to, (N, K, d), and the context of each row's open
            segment, (B, W - 1, d).
        """
        return segments, self._nothing

    def hide(self, position: Tensor) -> Tensor:
        """Takes what came before an episode out of position logits (N, K, L H)."""
        return position


class Window(OwnSegment):
    """Attention to the last W tokens (`attention_window`), of whatever segment."""

    @staticmethod
    def look_back(clock: np.ndarray, config: ELMURConfig) -> np.ndarray:
        """How many tokens before it the token at time step `clock` sees."""
        return np.minimum(clock, config.n_before)

    def __init__(self, state: State, packing: Packing):
        self._state = state
        n_before, length = state.context.shape[2], state.segment.shape[1]
        before = torch.arange(-n_before, 0, device=state.clock.device)
        begin = packing.segment[:, None] * length + before  # places in the row, (N, W - 1)
        self._before = self._source(packing, packing.row, begin, length)
        own = begin.new_zeros(len(begin), length, dtype=torch.bool)
        missing = begin + (state.clock - packing.phase)[packing.row, None] < 0
        self._missing = torch.cat([missing, own], dim=1)[..., None]  # (N, W - 1 + L, 1)
        row = torch.arange(len(state.clock), device=state.clock.device)
        open_begin = packing.filled[:, None] // length * length + before
        self._behind = self._source(packing, row, open_begin, length)

    @staticmethod
    def _source(packing: Packing, row: Tensor, place: Tensor, length: int) -> Tensor:
        """Where tokens at `place` of their rows lie in the rows' contexts and packed segments."""
        n_before, n_context = place.shape[1], len(packing.rank) * place.shape[1]
        in_segments = n_context + packing.locate(packing.rank[row], place, length)
        return torch.where(place < 0, row[:, None] * n_before + place + n_before, in_segments)

    def around(self, i: int, segments: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens before each segment and its own; see `OwnSegment.around`."""
        context = self._state.context[:, i].to(segments.dtype)
        tokens = torch.cat([context.flatten(0, 1), segments.flatten(0, 1)])
        # The gradient of `tokens[source]` would be many times slower.
        before, behind = (
            tokens.index_select(0, source.flatten()).view(*source.shape, tokens.shape[-1])
            for source in (self._before, self._behind)
        )
        return torch.cat([before, segments], dim=1), behind

    def hide(self, position: Tensor) -> Tensor:
        """Takes what came before an episode out of position logits (N, K, L H)."""
        return position.masked_fill(self._missing, -torch.inf)
