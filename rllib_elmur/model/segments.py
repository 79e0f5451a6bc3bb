"""Rows at any clock to the grid of whole segments, and back.

A call brings T new tokens a row. A row whose open segment holds r tokens begins at place r of its
first segment: the grid is those r tokens, then the new ones, cut into K segments of L.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rllib_elmur.model.memory import lru_order
from rllib_elmur.model.state import State


class Grid(NamedTuple):
    """Where each token of a call lies, and which segments it completes.

    Attributes:
        phase: Tokens already in the open segment, (B,).
        filled: Tokens in the grid, open ones included, (B,).
        n_segments: Segments K that hold any token.
        n_complete: Segments that at least one row completes.
    """

    phase: Tensor
    filled: Tensor
    n_segments: int
    n_complete: int

    @classmethod
    def of(cls, state: State, lengths: Tensor) -> "Grid":
        """The grid of a call with `lengths` (B,) new tokens after `state`."""
        segment_length = state.segment.shape[1]
        phase = state.clock % segment_length
        filled = phase + lengths
        longest = int(filled.max())
        return cls(phase, filled, -(-longest // segment_length), longest // segment_length)

    def scatter(self, x: Tensor, state: State) -> Tensor:
        """Lays the open tokens and the new ones, x (B, T, d), into (B, K, L, d)."""
        segment_length = state.segment.shape[1]
        place = torch.arange(self.n_segments * segment_length, device=x.device)
        phase = self.phase[:, None]
        source = torch.cat([state.segment.to(x.dtype), x], dim=1)  # (B, L + T, d)
        index = torch.where(place < phase, place, segment_length + place - phase)
        index = index.clamp(max=source.shape[1] - 1)  # beyond `filled`: never read as data
        return take(source, index).unflatten(1, (self.n_segments, segment_length))

    def gather(self, y: Tensor, n_tokens: int) -> Tensor:
        """The new tokens' outputs, (B, K, L, d) to (B, T, d); zeros where there is no token."""
        place = torch.arange(n_tokens, device=y.device) + self.phase[:, None]
        y = y.flatten(1, 2)
        inside = (place < self.filled[:, None])[..., None]
        return take(y, place.clamp(max=y.shape[1] - 1)) * inside

    def open_segment(self, x: Tensor) -> Tensor:
        """The tokens that remain unfinished, (B, L, d), of the grid x (B, K, L, d)."""
        segment_length = x.shape[2]
        place = torch.arange(segment_length, device=x.device)
        index = (self.filled // segment_length * segment_length)[:, None] + place
        x = x.flatten(1, 2)
        inside = (place < (self.filled % segment_length)[:, None])[..., None]
        return take(x, index.clamp(max=x.shape[1] - 1)) * inside


class Ring(NamedTuple):
    """Which slot each segment writes, and how far every token is from every slot.

    Slots stand in LRU order, so segment s writes slot s mod M; all follows from the anchors at
    the call's start. The ring holds what the general rule gives (see `lru_order`).

    Attributes:
        order: Slots in LRU order, (B, n, M).
        distance: Token position less slot anchor, (B, n, K, L, M).
        empty: Whether the slot is empty when the segment is read, (B, n, K, M).
    """

    order: Tensor
    distance: Tensor
    empty: Tensor

    @classmethod
    def of(cls, state: State, grid: Grid) -> "Ring":
        """The ring of a call that begins at `state`."""
        segment_length = state.segment.shape[1]
        n_slots = state.anchors.shape[-1]
        device = state.anchors.device
        order = lru_order(state.anchors)
        start = (state.clock - grid.phase)[:, None, None]  # where the first segment begins
        anchors = state.anchors.gather(-1, order)
        segment = torch.arange(grid.n_segments, device=device)[:, None]
        slot = torch.arange(n_slots, device=device)
        # The last segment before this one that wrote the slot; negative if none of this call.
        writer = (segment - 1 - slot).div(n_slots, rounding_mode="floor") * n_slots + slot
        written = writer >= 0  # (K, M)
        relative = torch.where(
            written, (writer + 1) * segment_length - 1, (anchors - start)[:, :, None]
        )  # anchors counted from the first segment's start, (B, n, K, M)
        empty = ~written & (anchors < 0)[:, :, None]
        token = torch.arange(segment_length, device=device)[:, None]
        position = segment[..., None] * segment_length + token  # (K, L, 1)
        return cls(order, position - relative[..., None, :], empty)

    def final_anchors(self, state: State, grid: Grid) -> Tensor:
        """The anchors after each row's completed segments, (B, n, M)."""
        segment_length = state.segment.shape[1]
        n_slots = state.anchors.shape[-1]
        start = (state.clock - grid.phase)[:, None, None]
        complete = (grid.filled // segment_length)[:, None, None]
        rank = self.order.argsort(dim=-1)  # place of each slot in the LRU order
        writer = (complete - 1 - rank).div(n_slots, rounding_mode="floor") * n_slots + rank
        return torch.where(writer >= 0, start + (writer + 1) * segment_length - 1, state.anchors)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (..., N, d) by index (..., I): (..., I, d)."""
    return x.gather(-2, index[..., None].expand(*index.shape, x.shape[-1]))
