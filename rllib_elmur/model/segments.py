"""Rows at any clock to packed segments, and back; which segment writes which slot.

A call brings T new tokens a row. A row whose open segment holds r tokens begins at place r of its
first segment: its tokens are those r, then the new ones, cut into segments of L. Rows differ in
how many segments they fill, so segments are packed: first the first segments of all rows, longest
row first, then the second segments of those rows that have one, and so on. The rows that segment
s concerns are thus always the first ones, and no padding is computed beyond a row's last segment.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rllib_elmur.model.memory import lru_order
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
        active: For each segment index, how many rows have any token in it.
        complete: For each segment index, how many rows fill it.
    """

    phase: Tensor
    filled: Tensor
    order: Tensor
    rank: Tensor
    row: Tensor
    segment: Tensor
    active: list[int]
    complete: list[int]

    @classmethod
    def of(cls, state: State, lengths: Tensor) -> "Packing":
        """The packing of a call with `lengths` (B,) new tokens, each >= 1, after `state`."""
        segment_length = state.segment.shape[1]
        phase = state.clock % segment_length
        filled = phase + lengths
        order = filled.argsort(descending=True, stable=True)
        n_segments = -(-int(filled.max()) // segment_length)
        begin = torch.arange(n_segments, device=filled.device)[:, None] * segment_length
        active = filled[order] > begin  # (K, B)
        segment, rank = active.nonzero(as_tuple=True)
        complete = filled >= begin + segment_length
        counts = torch.stack([active.sum(1), complete.sum(1)]).tolist()
        return cls(phase, filled, order, order.argsort(), order[rank], segment, *counts)

    def pack(self, x: Tensor, state: State) -> Tensor:
        """The open tokens and the new ones, x (B, T, d), as packed segments (N, L, d)."""
        segment_length = state.segment.shape[1]
        source = torch.cat([state.segment.to(x.dtype), x], dim=1)  # (B, L + T, d)
        token = torch.arange(segment_length, device=x.device)
        place = self.segment[:, None] * segment_length + token  # (N, L)
        phase = self.phase[self.row][:, None]
        index = torch.where(place < phase, place, segment_length + place - phase)
        index = index.clamp(max=source.shape[1] - 1)  # beyond `filled`: never read as data
        return _take(source, self.row[:, None], index)

    def unpack(self, y: Tensor, n_tokens: int) -> Tensor:
        """The new tokens' outputs, (N, L, d) to (B, T, d); zeros at the padding."""
        place = self.phase[:, None] + torch.arange(n_tokens, device=y.device)
        return self._at(y, place) * (place < self.filled[:, None])[..., None]

    def open_segment(self, tokens: Tensor) -> Tensor:
        """The tokens of each row's unfinished segment, (N, L, d) to (B, L, d), zero after them."""
        segment_length = tokens.shape[1]
        begin = (self.filled // segment_length * segment_length)[:, None]
        place = begin + torch.arange(segment_length, device=tokens.device)
        return self._at(tokens, place) * (place < self.filled[:, None])[..., None]

    def _at(self, packed: Tensor, place: Tensor) -> Tensor:
        """What lies at `place` (B, P) of each row; anything where the row has no such place."""
        n_packed, segment_length = packed.shape[:2]
        first = torch.tensor(self.active, device=place.device).cumsum(0)
        first = torch.nn.functional.pad(first, (1, 1))[:-1]  # where each segment index begins
        segment = (place // segment_length).clamp(max=len(self.active) - 1)
        index = (first[segment] + self.rank[:, None]).clamp(max=n_packed - 1)
        return _take(packed, index, place % segment_length)


class Ring(NamedTuple):
    """Which slot each segment writes, and how far every token is from every slot.

    With slots in LRU order (see `lru_order`), segment s of a call writes slot s mod M: a write
    makes its slot the most recent one. So all follows from the anchors at the call's start.

    Attributes:
        order: Slots in LRU order, (B, n, M).
        distance: Token position less slot anchor, slots in LRU order, (N, n, L, M).
        empty: Whether the slot is empty when the segment is read, (N, n, M).
    """

    order: Tensor
    distance: Tensor
    empty: Tensor

    @classmethod
    def of(cls, state: State, packing: Packing) -> "Ring":
        """The ring of a call that begins at `state`."""
        segment_length, n_slots = state.segment.shape[1], state.anchors.shape[-1]
        device = state.anchors.device
        order = lru_order(state.anchors)
        anchors = state.anchors.gather(-1, order)
        begin = (state.clock - packing.phase)[:, None, None]  # where the first segment begins
        segment = packing.segment[:, None, None]  # (N, n, M) from here on
        writer = last_writer(segment, torch.arange(n_slots, device=device), n_slots)
        relative = torch.where(
            writer >= 0, (writer + 1) * segment_length - 1, (anchors - begin)[packing.row]
        )  # anchors, counted from the first segment's start
        empty = (writer < 0) & (anchors < 0)[packing.row]
        token = torch.arange(segment_length, device=device)[:, None]
        position = segment[..., None] * segment_length + token  # (N, 1, L, 1)
        return cls(order, position - relative[:, :, None], empty)

    def final_anchors(self, state: State, packing: Packing) -> Tensor:
        """The anchors after each row's completed segments, (B, n, M)."""
        segment_length, n_slots = state.segment.shape[1], state.anchors.shape[-1]
        begin = (state.clock - packing.phase)[:, None, None]
        n_complete = (packing.filled // segment_length)[:, None, None]
        writer = last_writer(n_complete, self.order.argsort(dim=-1), n_slots)
        return torch.where(writer >= 0, begin + (writer + 1) * segment_length - 1, state.anchors)


def last_writer(segment: Tensor, slot: Tensor, n_slots: int) -> Tensor:
    """The last segment before `segment` that wrote `slot` (by LRU order); negative if none did."""
    return (segment - 1 - slot).div(n_slots, rounding_mode="floor") * n_slots + slot


def _take(x: Tensor, row: Tensor, index: Tensor) -> Tensor:
    """X (R, P, d) at (row, index), broadcast to (..., I): (..., I, d)."""
    flat = (row * x.shape[1] + index).flatten()
    return x.flatten(0, 1).index_select(0, flat).unflatten(0, index.shape)
