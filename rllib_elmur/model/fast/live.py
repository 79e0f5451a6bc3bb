"""The step schedule: one token a row, with all that it needs of the past at hand."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.model.fast import layer as fast
from rllib_elmur.model.fast.caches import Ring, SlotCache, StepWeights
from rllib_elmur.model.fast.ops import norm
from rllib_elmur.model.memory import build_rounding
from rllib_elmur.model.state import State

if TYPE_CHECKING:
    from rllib_elmur.model.elmur import ELMUR

Rows = Sequence[int] | np.ndarray  # numbers of rows


class LiveBatch:
    """A batch of running episodes, advanced in place in O(W + L + M) a step and without gradient.

    It keeps what each layer's tokens attend to, of the open segment what it will write, and of
    memory the keys and values; so a step computes its own token alone, and only rows that finish a
    segment write. All rows put step t into place t mod K of a ring, wherever they stand in their
    segments: distances from the newest token are then the same for all, and only how far a row
    looks back differs.

    What is derived from weights is derived again when these have changed (`Absorbed.version`),
    between any two steps.

    Args:
        elmur: The model.
        state: Where the episodes stand.

    Attributes:
        elmur: The model.
        clock: Time steps seen since each episode's start, (B,) int64.
    """

    @torch.inference_mode()
    def __init__(self, elmur: "ELMUR", state: State):
        self.elmur, self._length = elmur, elmur.config.segment_length
        self._round, self._device = build_rounding(elmur.config), state.segment.device
        self._distance_bias = elmur.layers[0].distance_bias  # finding it takes time at each step
        # The integers that steer are the host's: no step waits for a device to tell them.
        self.clock = state.clock.numpy(force=True).copy()
        self._anchors = state.anchors.transpose(0, 1).numpy(force=True).copy()  # (n, B, M)
        token = np.arange(self._length)
        self._age = (token[:, None] - token) % self._length  # of a ring's entries, by the newest's
        self._now = 0  # steps of this batch: the place of the next token
        self._ring = Ring.of(state)
        # What the last step's writes replaced: slots, their anchors, their contents.
        self._overwritten: tuple[np.ndarray, np.ndarray, Tensor] | None = None
        self._derive(state.memory.transpose(0, 1))

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        """Advances every row by a token, (B, d); returns the outputs, (B, d), inference tensors."""
        self._refresh()
        self._overwritten = None
        if not self.clock.all():
            x = self.elmur.mark(x, self._index(self.clock))
        self._ring.tokens[:, self._now % self._length] = x
        y = self._run_token(x, self._now, self.clock)
        self.clock += 1
        finished = (self.clock % self._length == 0).nonzero()[0]
        if len(finished):
            self._write(finished)
        self._now += 1
        return self.elmur.final_norm(y)

    @torch.inference_mode()
    def reset(self, rows: Rows) -> None:
        """Starts a new episode in some rows."""
        self._refresh()
        self.clock[rows] = 0
        self._anchors[:, rows] = -1
        index, w = self._index(rows), self._weights
        self._slots.contents_of.index_copy_(1, index, w.initial.expand(-1, len(rows), -1, -1))
        projected = w.initial_projected.expand(-1, len(rows), -1, -1, -1)
        self._slots.projected_of.index_copy_(1, index, projected)

    @torch.inference_mode()
    def take(self, rows: Rows) -> "LiveBatch":
        """Copies some rows to a batch of their own, which may go on alone and be put back."""
        self._refresh()
        part, index = copy.copy(self), self._index(rows)
        # NumPy may lay out what it gathers in another order, and a write needs it flat.
        part.clock, part._anchors = self.clock[rows], self._anchors[:, rows].copy("C")
        part._ring, part._slots = self._ring.of_rows(index), self._slots.of_rows(index)
        return part

    @torch.inference_mode()
    def put(self, rows: Rows, part: "LiveBatch") -> None:
        """Copies the rows of a batch of the same model over some of these."""
        index = self._index(rows)
        self.clock[rows], self._anchors[:, rows] = part.clock, part._anchors
        self._ring.put(index, part._ring, part._now - self._now)
        self._slots.put(index, part._slots)
        self._overwritten = None

    def state(self, rows: Rows) -> State:
        """The state of some rows, in tensors of its own."""
        return self._extract(rows, self.clock, self._now, self._anchors, self._slots.contents)

    @torch.inference_mode(False)
    def state_before(self, rows: Rows) -> State:
        """The state of some rows before the last step."""
        anchors, memory = self._anchors, self._slots.contents
        if self._overwritten is not None:
            slot, old_anchors, old_memory = self._overwritten
            anchors, memory = anchors.copy(), memory.clone()
            anchors.reshape(-1)[slot] = old_anchors
            memory.index_copy_(0, self._index(slot), old_memory)
        return self._extract(rows, self.clock - 1, self._now - 1, anchors, memory)

    def _extract(
        self,
        rows: Rows,
        clock: np.ndarray,
        now: int,
        anchors: np.ndarray,
        memory: Tensor,
    ) -> State:
        index, clock = self._index(rows), clock[rows]
        phase, token = (clock % self._length)[:, None], np.arange(self._length)
        anchors = anchors[:, rows].swapaxes(0, 1)
        empty = self._index(anchors < 0)[..., None]
        places = self._index((now - phase + token) % self._length)
        segment = self._ring.tokens[index[:, None], places]
        memory = memory.unflatten(0, self._anchors.shape)[:, index].transpose(0, 1)
        return State(
            memory=memory.masked_fill(empty, 0.0),
            anchors=self._index(anchors.copy()),
            clock=self._index(clock),
            segment=segment.masked_fill(self._index(token >= phase)[..., None], 0.0),
            context=self._context(index, clock, now),
        )

    def _context(self, rows: Tensor, clock: np.ndarray, now: int) -> Tensor:
        """What the tokens before some rows' open segments left for attention, (R, n, W - 1, d)."""
        n_before, context = self.elmur.config.n_before, self._ring.context
        if not n_before:  # snapshots are frequent, and looking for nothing takes as long
            return context.new_empty(len(rows), len(context), 0, context.shape[-1])
        # Places of these tokens, from the next token's: (R, W - 1).
        before = np.arange(-n_before, 0) - (clock % self._length)[:, None]
        places = self._index((now + before) % context.shape[2])
        missing = self._index(clock[:, None] + before < 0)[:, None, :, None]
        return context[:, rows[:, None], places].transpose(0, 1).masked_fill(missing, 0.0)

    def _run_token(
        self, x: Tensor, now: int, clock: np.ndarray, rows: Tensor | None = None
    ) -> Tensor:
        """Attend and read for the token (B, d) of step `now`; of `rows` (B, 1) alone, if given."""
        w, ring = self._weights, self._ring
        size, place = ring.context.shape[2], now % self._length
        before_read = self.elmur.config.write_before_read
        back = self._index(self.elmur.attention_scope.look_back(clock, self.elmur.config))
        distance, tables = clock[:, None] - self._anchors, w.table_begins[:, None, None]
        bias = self._bias(distance, self._anchors < 0, tables)[..., None]  # (n, B, M, H, T = 1)
        y, positions = x, self.elmur.positions
        for i, (weights, ring_weights) in enumerate(zip(w.layers, w.ring, strict=True)):
            token = norm(y, weights.attend.residual.before)
            seen = ring.context_at[i][now % size]
            seen.copy_(token if rows is None else torch.where(rows, token, seen))
            position = positions.of_newest(token, back, ring_weights[now % size])  # (B, K H)
            position = position.view(len(token), size, -1)
            mixed = fast.mix_context(token, ring.context[i], position, weights.attend)
            h = fast.attend(y, mixed, weights.attend)
            y = fast.read(h, self._slots.read[i], bias[i], weights.read)
            ring.to_write_at[i][place].copy_(h if before_read else y)
        return y

    def _write(self, finished: np.ndarray) -> None:
        """Writes the least recently used slot of each layer in rows that finished a segment."""
        n_layers, n_rows, n_slots = self._anchors.shape
        rows = (np.arange(0, n_layers * n_rows, n_rows)[:, None] + finished).reshape(-1)  # (n R,)
        oldest = self._anchors.reshape(-1, n_slots)[rows].argmin(-1)  # empty, of anchor -1, first
        slot = rows * n_slots + oldest
        anchor = self._anchors.reshape(-1)[slot]
        last = np.concatenate([self.clock[finished] - 1] * n_layers)
        position = last[:, None] - self._age[self._now % self._length]
        empty, w = (anchor < 0)[:, None], self._weights
        tables = w.table_begins.repeat(len(finished))[:, None]
        bias = self._bias(anchor[:, None] - position, empty, tables)  # (n R, L, H)
        at = self._index(slot)
        old = self._slots.contents.index_select(0, at)
        h = self._ring.to_write.flatten(0, 1).index_select(0, self._index(rows))
        share = fast.blend_share(self._index(empty), self.elmur.config.lru_blend, h)
        new = self._round(fast.write(h, old, share, bias, w.write))
        self._slots.contents.index_copy_(0, at, new)
        self._slots.projected.index_copy_(0, at, fast.project_slots(new, w.write))
        self._overwritten = slot, anchor, old
        self._anchors.reshape(-1)[slot] = last

    def _bias(self, distance: np.ndarray, empty: np.ndarray, table: np.ndarray) -> Tensor:
        """Logits of distances, (...) to (..., H), from the table that begins at row `table`."""
        row = self._distance_bias.row(self._index(distance), self._index(empty))
        return torch.embedding(self._weights.tables, row.add_(self._index(table)))

    def _refresh(self) -> None:
        if self._version != self.elmur.absorbed.version():
            self._derive(self._slots.contents_of)

    def _derive(self, memory: Tensor) -> None:
        """Derives from the weights and the slots (n, B, M, d) all that a step needs."""
        self._version = self.elmur.absorbed.version()
        self._weights = w = StepWeights.of(self.elmur)
        precision, empty = w.initial.dtype, self._index(self._anchors < 0)[..., None]
        if self._ring.tokens.dtype != precision:  # the model was converted
            self._ring = self._ring.to(precision)
        self._slots = SlotCache.of(torch.where(empty, w.initial, memory.to(precision)), w)
        # The open tokens run again, in rows that hold so many of them.
        phase = self.clock % self._length
        for age in range(int(phase.max()), 0, -1):
            token = self._ring.tokens[:, (self._now - age) % self._length]
            clock = np.maximum(self.clock - age, self.clock - phase)
            self._run_token(token, self._now - age, clock, self._index(phase >= age)[:, None])

    def _index(self, integers: Sequence[int] | np.ndarray) -> Tensor:
        """Integers or flags of the host on the device."""
        return torch.from_numpy(np.asarray(integers)).to(self._device)
