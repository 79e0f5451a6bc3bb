"""The step schedule: one token a row, with all that it needs of the past at hand."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.model.state import State

if TYPE_CHECKING:
    from rllib_elmur.model.elmur import ELMUR


class LiveBatch:
    """A batch of running episodes, advanced in place in O(L + M) a step and without gradient.

    Of the open segment it keeps tokens, keys, values and outputs, of the memory what tokens see of
    it; so a step computes its own token alone, and only rows that finish a segment write. All rows
    put step t into place t mod L of a ring, wherever they stand in their segments: distances from
    the newest token are then the same for all, and only how far a row may look back differs.

    What is derived from weights is derived again when these have changed (`ELMUR.weights_version`),
    between any two steps.

    Args:
        elmur: The model.
        state: Where the episodes stand.

    Attributes:
        clock: Time steps seen since each episode's start, (B,) int64.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, elmur: "ELMUR", state: State):
        c, n_rows, like = elmur.config, len(state.clock), state.segment
        self._elmur, self._length, self._slots = elmur, c.segment_length, c.memory_slots
        # The integers that steer are the host's: no step waits for a device to tell them.
        self.clock = state.clock.numpy(force=True).copy()
        anchors = state.anchors.transpose(0, 1).reshape(c.n_layers, -1)
        self._anchors = anchors.numpy(force=True).copy()  # (n, B M)
        token = np.arange(self._length)
        self._age = (token[:, None] - token) % self._length  # (L, L), of a ring's entries by place
        hidden = torch.from_numpy(self._age[:, None] > token[:, None])  # (places, phases, L)
        self._hidden = like.new_zeros(hidden.shape).masked_fill_(hidden.to(like.device), -torch.inf)
        self._place = 0
        # What the last step's writes replaced: slots, their anchors, their contents.
        self._overwritten: tuple[np.ndarray, np.ndarray, list[Tensor]] | None = None
        rows, phase = np.arange(n_rows)[:, None], (self.clock % self._length)[:, None]
        open_token = self._index(rows), self._index(phase - self._age[0])
        self._tokens = like[open_token]  # (B, L, d), along the ring as all of the following
        self._outputs = like.new_empty(c.n_layers, *like.shape)
        size = c.n_layers, 2, n_rows * c.n_heads, self._length, c.d_model // c.n_heads
        self._keys_values = like.new_zeros(size)
        memory = torch.stack([elmur.load(i, state) for i in range(c.n_layers)])
        self._memory = memory.flatten(1, 2)  # (n, B M, d)
        self._derive()

    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, x: Tensor) -> Tensor:
        """Advances every row by a token, (B, d); returns the outputs, (B, d)."""
        self._refresh()
        self._overwritten = None
        self._tokens[:, self._place] = x
        y = self._run_token(x, self._place, self.clock)
        self.clock += 1
        finished = (self.clock % self._length == 0).nonzero()[0]
        if len(finished):
            self._write(finished)
        self._place = (self._place + 1) % self._length
        return self._elmur.final_norm(y)

    @torch.inference_mode(False)
    @torch.no_grad()
    def reset(self, rows: Sequence[int]) -> None:
        """Starts a new episode in some rows."""
        self._refresh()
        self.clock[rows] = 0
        slots = np.asarray(rows)[:, None] * self._slots + np.arange(self._slots)
        self._anchors[:, slots] = -1
        index = self._index(slots)
        self._memory[:, index] = self._initial_memory[:, None]
        self._views[:, index] = self._initial_views[:, None]

    def state(self, rows: Sequence[int]) -> State:
        """The state of some rows, in tensors of its own."""
        return self._extract(rows, self.clock, self._place, self._anchors, self._memory)

    @torch.inference_mode(False)
    def state_before(self, rows: Sequence[int]) -> State:
        """The state of some rows before the last step."""
        anchors, memory = self._anchors, self._memory
        if self._overwritten is not None:
            slot, old_anchors, old_memory = self._overwritten
            anchors, memory = anchors.copy(), memory.clone()
            np.put_along_axis(anchors, slot, old_anchors, 1)
            for layer, at, old in zip(memory, self._index(slot), old_memory, strict=True):
                layer.index_copy_(0, at, old)
        return self._extract(
            rows, self.clock - 1, (self._place - 1) % self._length, anchors, memory
        )

    def _extract(
        self,
        rows: Sequence[int],
        clock: np.ndarray,
        place: int,
        anchors: np.ndarray,
        memory: Tensor,
    ) -> State:
        index, clock = self._index(rows), clock[rows]
        phase, token = (clock % self._length)[:, None], np.arange(self._length)
        by_row = len(self.clock), self._slots
        anchors = anchors.reshape(-1, *by_row)[:, rows].swapaxes(0, 1)
        empty = self._index(anchors < 0)[..., None]
        segment = self._tokens[index[:, None], self._index((place - phase + token) % self._length)]
        memory = memory.unflatten(1, by_row)[:, index].transpose(0, 1)
        return State(
            memory=memory.masked_fill(empty, 0.0),
            anchors=self._index(anchors.copy()),
            clock=self._index(clock),
            segment=segment.masked_fill(self._index(token >= phase)[..., None], 0.0),
        )

    def _run_token(self, x: Tensor, place: int, clock: np.ndarray) -> Tensor:
        """Attend and read for one token a row, (B, d), which lies at `place` of the ring."""
        age = self._index(self._age[place])
        hidden = self._hidden[place].index_select(0, self._index(clock % self._length))
        hidden = hidden[:, None]  # (B, 1, L)
        bias = self._bias(clock.repeat(self._slots) - self._anchors, self._anchors < 0)
        bias = bias.unflatten(1, (-1, self._slots))[..., None]  # (n, B, M, H, T = 1)
        y = x[:, None]  # (B, 1, d)
        for i, layer in enumerate(self._elmur.layers):
            ring = self._keys_values[i]  # (2, B H, L, d/H)

            def gather(qkv: Tensor, position: Tensor, ring: Tensor = ring) -> tuple[Tensor, ...]:
                query, new = qkv.squeeze(1).split([1, 2], dim=1)  # (B, 1, H, d/H), (B, 2, H, d/H)
                ring[:, :, place] = new.transpose(0, 1).flatten(1, 2)
                position = position.squeeze(1).index_select(2, age) + hidden  # (B, H, L)
                return query.reshape(-1, 1, query.shape[-1]), *ring, position.view(-1, len(age), 1)

            h = layer.attend(y, self._absorbed[i], gather)
            y = layer.read(h, self._views[i].unflatten(0, (-1, self._slots)), bias[i])
            self._outputs[i][:, place] = y[:, 0]
        return y[:, 0]

    def _write(self, rows: np.ndarray) -> None:
        """Writes the least recently used slot of each layer in rows that finished a segment."""
        slots = rows[:, None] * self._slots + np.arange(self._slots)  # (R, M)
        slot = self._anchors[:, slots].argmin(-1)  # (n, R); empty slots, of anchor -1, come first
        slot += rows * self._slots
        anchor = np.take_along_axis(self._anchors, slot, 1)[..., None]  # (n, R, 1)
        position = self.clock[rows, None] - 1 - self._age[self._place]
        bias = self._bias(anchor - position, anchor < 0).mT  # (n, R, H, L)
        empty, index, at = self._index(anchor < 0), self._index(rows), self._index(slot)
        contents = []
        for i, layer in enumerate(self._elmur.layers):
            old = self._memory[i].index_select(0, at[i])
            contents.append(old)
            h = self._outputs[i].index_select(0, index)
            new = layer.write(h, old, empty[i], bias[i], self._absorbed[i])
            self._memory[i].index_copy_(0, at[i], new)
            self._views[i].index_copy_(0, at[i], layer.view(new, self._absorbed[i]))
        self._overwritten = slot, anchor.squeeze(-1), contents
        np.put_along_axis(self._anchors, slot, self.clock[rows][None] - 1, 1)

    def _bias(self, distance: np.ndarray, empty: np.ndarray) -> Tensor:
        """All layers' logits of distances, (n, ...) to (n, ..., H)."""
        reach = self._elmur.layers[0].distance_bias.reach
        row = np.minimum(np.maximum(distance, -reach), reach) + reach
        row = np.where(empty, 2 * reach + 1, row)
        first = (2 * reach + 2) * np.arange(len(row))
        row += first.reshape(-1, *[1] * (row.ndim - 1))
        return torch.nn.functional.embedding(self._index(row), self._tables)

    def _refresh(self) -> None:
        if self._version != self._elmur.weights_version():
            self._derive()

    def _derive(self) -> None:
        """Derives from the weights all that a step needs; runs the open tokens again."""
        layers = self._elmur.layers
        self._version = self._elmur.weights_version()
        self._absorbed = self._elmur.absorb()
        self._tables = torch.cat([layer.distance_bias.table for layer in layers])
        self._initial_memory = torch.stack([layer.initial_memory for layer in layers])
        empty = self._index(self._anchors < 0)[..., None]
        initial = self._initial_memory.repeat(1, len(self.clock), 1)
        self._memory = torch.where(empty, initial, self._memory)
        self._views = self._view(self._memory)  # (n, B M, H, 2 d + 1)
        self._initial_views = self._view(self._initial_memory)
        # Rows with fewer tokens fill places that their coming tokens will overwrite.
        phase = self.clock % self._length
        for age in range(int(phase.max()), 0, -1):
            place = (self._place - age) % self._length
            clock = np.maximum(self.clock - age, self.clock - phase)
            self._run_token(self._tokens[:, place], place, clock)

    def _view(self, memory: Tensor) -> Tensor:
        layers = zip(self._elmur.layers, self._absorbed, memory, strict=True)
        return torch.stack([layer.view(m, absorbed) for layer, absorbed, m in layers])

    def _index(self, integers: Sequence[int] | np.ndarray) -> Tensor:
        """Integers or flags of the host on the device."""
        return torch.as_tensor(np.asarray(integers)).to(self._elmur.shift.device)
