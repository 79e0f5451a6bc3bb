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
        order: Slots in LRU order, (B, n, M).
        distance: Token position less anchor of the entries that are read, (N, n, M, L).
        empty: Whether such an entry is an empty slot, (N, n, M).
        last: Which entry each slot holds after the row's last segment, (B, n, M).
        anchors: Its anchor, (B, n, M).
    """

    order: Tensor
    distance: Tensor
    empty: Tensor
    last: Tensor
    anchors: Tensor

    @classmethod
    def of(cls, state: State, packing: Packing) -> "Queue":
        """The queues of a call that begins at `state`."""
        segment_length, n_slots = state.segment.shape[1], state.anchors.shape[-1]
        device = state.anchors.device
        order = lru_order(state.anchors)
        begin = (state.clock - packing.phase)[:, None, None]  # where the first segment begins
        # Anchors are counted from there: those at the start, and of what segment s writes.
        anchors = state.anchors.gather(-1, order) - begin  # (B, n, M)
        segment = packing.segment[:, None, None]
        entry = segment + torch.arange(n_slots, device=device)  # (N, 1, M)
        written = (entry - n_slots + 1) * segment_length - 1
        at_start = entry.expand(-1, anchors.shape[1], -1).clamp(max=n_slots - 1)
        at_start = anchors[packing.row].gather(-1, at_start)
        first = entry < n_slots
        token = torch.arange(segment_length, device=device)
        position = segment[..., None] * segment_length + token  # (N, 1, 1, L)
        n_complete = (packing.filled // segment_length)[:, None, None]
        last = n_complete + (order.argsort(dim=-1) - n_complete) % n_slots
        return cls(
            order=order,
            distance=position - torch.where(first, at_start, written)[..., None],
            empty=first & (at_start < -begin[packing.row]),
            last=last,
            anchors=torch.where(
                last < n_slots, state.anchors, begin + (last - n_slots + 1) * segment_length - 1
            ),
        )
