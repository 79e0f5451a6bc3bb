"""Rows at any clock to packed segments, and back.

A call brings T new tokens a row. A row whose open segment holds r tokens begins at place r of its
first segment: its tokens are those r, then the new ones, cut into segments of L. Rows differ in
how many segments they fill, so segments are packed: first the first segments of all rows, longest
row first, then the second segments of those rows that have one, and so on. The rows that segment
s concerns are thus always the first ones, and nothing is computed beyond a row's last segment.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_elmur.model.fast.ops import take
from rllib_elmur.model.state import State


class Packing(NamedTuple):
    """Where each token of a call lies among the N packed segments.

    Attributes:
        phase: Tokens already in the open segment, (B,).
        filled: Tokens of the row, open ones included, (B,).
        order: Rows, longest first, (B,).
        rank: Place of each row in that order, (B,).
        row: Row of each packed segment, (N,).
        segment: Index of each packed segment in its row, (N,).
        first: For each segment index, its first packed segment, (segments,).
        active: For each segment index, how many rows have any token in it.
        complete: For each segment index, how many rows fill it.
        written: The packed segments that their rows fill, (F,).
    """

    phase: Tensor
    filled: Tensor
    order: Tensor
    rank: Tensor
    row: Tensor
    segment: Tensor
    first: Tensor
    active: list[int]
    complete: list[int]
    written: Tensor

    @classmethod
    def of(cls, state: State, lengths: Tensor) -> "Packing":
        """The packing of a call with `lengths` (B,) new tokens after `state`."""
        segment_length = state.segment.shape[1]
        phase = state.clock % segment_length
        filled = phase + lengths
        order = filled.argsort(descending=True, stable=True)
        n_segments = -(-int(filled.max()) // segment_length)
        begin = torch.arange(n_segments, device=filled.device)[:, None] * segment_length
        active = filled[order] > begin  # (K, B)
        segment, rank = active.nonzero(as_tuple=True)
        complete = filled[order] >= begin + segment_length
        n_active, n_complete = active.sum(1), complete.sum(1)
        first = n_active.cumsum(0) - n_active
        counts = torch.stack([n_active, n_complete]).tolist()
        written = complete[active].nonzero().squeeze(-1)
        row = order[rank]
        return cls(phase, filled, order, order.argsort(), row, segment, first, *counts, written)

    def pack(self, x: Tensor, state: State) -> Tensor:
        """The open tokens and the new ones, x (B, T, d), as packed segments (N, L, d)."""
        segment_length = state.segment.shape[1]
        source = torch.cat([state.segment.to(x.dtype), x], dim=1)  # (B, L + T, d)
        place = self.position(segment_length)  # (N, L)
        phase = self.phase[self.row][:, None]
        index = torch.where(place < phase, place, segment_length + place - phase)
        index = index.clamp(max=source.shape[1] - 1)  # beyond `filled`: never read as data
        return take(source.flatten(0, 1), self.row[:, None] * source.shape[1] + index)

    def unpack(self, y: Tensor, n_tokens: int) -> Tensor:
        """The new tokens' outputs, (N, L, d) to (B, T, d); zeros at the padding."""
        place = self.phase[:, None] + torch.arange(n_tokens, device=y.device)
        return self._at(y, place)

    def open_segment(self, tokens: Tensor) -> Tensor:
        """The tokens of each row's unfinished segment, (N, L, d) to (B, L, d), zero after them."""
        segment_length = tokens.shape[1]
        begin = self.filled // segment_length * segment_length
        return self._at(tokens, begin[:, None] + torch.arange(segment_length, device=tokens.device))

    def find(self, rank: Tensor, entry: Tensor, n_slots: int) -> Tensor:
        """Where entries (R, ...) of the rows of some rank (R, ...) lie among those of all rows.

        Entries of a queue stand one after the other, each with the rows that reach it, longest row
        first: all rows reach the `n_slots` of the call's start.
        """
        sizes = [0, *[len(self.order)] * n_slots, *self.complete]
        return torch.tensor(sizes, device=entry.device).cumsum(0)[entry] + rank

    def position(self, segment_length: int) -> Tensor:
        """Time steps of the tokens of each segment, counted from the row's first one, (N, L)."""
        token = torch.arange(segment_length, device=self.segment.device)
        return self.segment[:, None] * segment_length + token

    def locate(self, rank: Tensor, place: Tensor, segment_length: int) -> Tensor:
        """Where the tokens at `place` (R, P) of the rows of some rank (R,) lie in (N L, d)."""
        segment = (place // segment_length).clamp(0, len(self.active) - 1)
        return (self.first[segment] + rank[:, None]) * segment_length + place % segment_length

    def _at(self, packed: Tensor, place: Tensor) -> Tensor:
        """What lies at `place` (B, P) of each row, (B, P, d); zero where the row has no token."""
        n_packed, segment_length, _ = packed.shape
        index = self.locate(self.rank, place, segment_length)
        # One token more, of zeros, for what no row has.
        index = torch.where(place < self.filled[:, None], index, n_packed * segment_length)
        return take(nn.functional.pad(packed.flatten(0, 1), (0, 0, 0, 1)), index)
