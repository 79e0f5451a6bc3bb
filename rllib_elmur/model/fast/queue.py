"""Which segment writes which slot, known from the clocks alone."""

from typing import NamedTuple

import torch
from torch import Tensor

from rllib_elmur.model.fast.packed import Packing
from rllib_elmur.model.memory import lru_order
from rllib_elmur.model.state import State


class Queue(NamedTuple):
    """The memory of a layer as a queue, and how far every token is from what it reads.

    A write makes its slot the most recent one, so with slots in LRU order segment s of a call
    writes slot s mod M: LRU is first in, first out. Entries of the queue are the M slots at the
    call's start, then what each segment writes. Segment s reads entries s to s + M - 1 and turns
    entry s, the oldest, into entry s + M.

    Attributes:
        begin: Time step at which each row's first segment begins, (B,).
        order: Slots in LRU order, (B, n, M).
        anchor: The anchor of each entry, counted from `begin`, (B, n, M + segments).
        last: Which entry each slot holds after the row's last segment, (B, n, M).
        anchors: Its anchor, (B, n, M).
    """

    begin: Tensor
    order: Tensor
    anchor: Tensor
    last: Tensor
    anchors: Tensor

    @classmethod
    def of(cls, state: State, packing: Packing) -> "Queue":
        """The queues of a call that begins at `state`."""
        segment_length, n_slots = state.segment.shape[1], state.anchors.shape[-1]
        order = lru_order(state.anchors)
        begin = state.clock - packing.phase
        start = begin[:, None, None]
        at_start = state.anchors.gather(-1, order) - start  # (B, n, M)
        n_written = torch.arange(1, len(packing.active) + 1, device=begin.device)
        written = (n_written * segment_length - 1).expand(*at_start.shape[:2], -1)
        n_complete = (packing.filled // segment_length)[:, None, None]
        last = n_complete + (order.argsort(dim=-1) - n_complete) % n_slots
        return cls(
            begin=begin,
            order=order,
            anchor=torch.cat([at_start, written], dim=-1),
            last=last,
            anchors=torch.where(
                last < n_slots, state.anchors, start + (last - n_slots + 1) * segment_length - 1
            ),
        )

    def distance(
        self, i: int, row: Tensor, entry: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How far tokens are from entries of layer i's queue.

        Args:
            i: The layer.
            row: Of each of R groups of entries, (R,).
            entry: The entries, (R, E).
            position: Time steps of T tokens, counted from `begin`, (R, T) or (T,).

        Returns:
            Token position less anchor, (R, E, T), and whether the entry is empty, (R, E, 1).
        """
        anchor = self.anchor[row, i].gather(1, entry)[..., None]
        return position[..., None, :] - anchor, anchor < -self.begin[row][:, None, None]
