"""The step schedule: one token a row, with all that it needs of the past at hand."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.layer import MemoryMaps
from rllib_elmur.model.state import State


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
        elmur: The model.
        clock: Time steps seen since each episode's start, (B,) int64.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, elmur: ELMUR, state: State):
        c, n_rows, like = elmur.config, len(state.clock), state.segment
        self.elmur, self._length, self._slots = elmur, c.segment_length, c.memory_slots
        self._by_layer = c.n_layers, n_rows
        # The integers that steer are the host's: no step waits for a device to tell them.
        self.clock = state.clock.numpy(force=True).copy()
        self._anchors = state.anchors.transpose(0, 1).flatten().numpy(force=True).copy()  # (n B M,)
        token = np.arange(self._length)
        self._age = (token[:, None] - token) % self._length  # (L, L), of a ring's entries by place
        hidden = torch.from_numpy(self._age[:, None] > token[:, None])  # (places, phases, L)
        self._hidden = like.new_zeros(hidden.shape).masked_fill_(hidden.to(like.device), -torch.inf)
        self._by_age = self._index(self._age)
        self._place = 0
        # What the last step's writes replaced: slots, their anchors, their contents.
        self._overwritten: tuple[np.ndarray, np.ndarray, Tensor] | None = None
        rows, phase = np.arange(n_rows)[:, None], (self.clock % self._length)[:, None]
        open_token = self._index(rows), self._index(phase - self._age[0])
        self._tokens = like[open_token]  # (B, L, d), along the ring as all of the following
        self._outputs = like.new_empty(c.n_layers, *like.shape)
        size = c.n_layers, 2, n_rows * c.n_heads, self._length, c.d_model // c.n_heads
        self._keys_values = like.new_zeros(size)
        # Where each layer and place writes; making views anew would cost as much as writing.
        self._outputs_at = [list(layer.split(1, dim=1)) for layer in self._outputs]
        self._keys_values_at = [list(layer.unbind(2)) for layer in self._keys_values]
        self._memory = state.memory.transpose(0, 1).flatten(0, 2)  # (n B M, d)
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
        return self.elmur.final_norm(y)

    @torch.inference_mode(False)
    @torch.no_grad()
    def reset(self, rows: Sequence[int]) -> None:
        """Starts a new episode in some rows."""
        self._refresh()
        self.clock[rows] = 0
        slots = self._slots_of(self._rows_of(rows))
        self._anchors[slots] = -1
        index = self._index(slots).view(len(self._initial_memory), -1, self._slots)
        self._memory[index] = self._initial_memory[:, None]
        self._views[index] = self._initial_views[:, None]

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
            anchors[slot] = old_anchors
            memory.index_copy_(0, self._index(slot), old_memory)
        place = (self._place - 1) % self._length
        return self._extract(rows, self.clock - 1, place, anchors, memory)

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
        size = (*self._by_layer, self._slots)
        anchors = anchors.reshape(size)[:, rows].swapaxes(0, 1)
        empty = self._index(anchors < 0)[..., None]
        segment = self._tokens[index[:, None], self._index((place - phase + token) % self._length)]
        memory = memory.unflatten(0, size)[:, index].transpose(0, 1)
        return State(
            memory=memory.masked_fill(empty, 0.0),
            anchors=self._index(anchors.copy()),
            clock=self._index(clock),
            segment=segment.masked_fill(self._index(token >= phase)[..., None], 0.0),
        )

    def _run_token(self, x: Tensor, place: int, clock: np.ndarray) -> Tensor:
        """Attend and read for one token a row, (B, d), which lies at `place` of the ring."""
        n_layers, n_rows = self._by_layer
        hidden = self._hidden[place].index_select(0, self._index(clock % self._length))[:, None]
        position = np.tile(clock, n_layers).repeat(self._slots)
        bias = self._bias(position - self._anchors, self._anchors < 0, self._table_of_slot)
        bias = bias.view(n_layers, n_rows, self._slots, -1, 1).unbind()  # (B, M, H, T = 1)
        y = x[:, None]  # (B, 1, d)
        for i, layer in enumerate(self.elmur.layers):

            def gather(qkv: Tensor, position: Tensor, i: int = i) -> tuple[Tensor, ...]:
                query, new = qkv[:, 0, :1], qkv[:, 0, 1:]  # (B, 1, H, d/H), (B, 2, H, d/H)
                ring = self._keys_values_at[i][place]
                ring.view(2, n_rows, *query.shape[2:]).copy_(new.transpose(0, 1))
                position = position[:, 0].index_select(2, self._by_age[place]) + hidden  # (B, H, L)
                return (
                    query.reshape(-1, 1, query.shape[-1]),
                    *self._keys_values[i],
                    position.view(-1, self._length, 1),
                )

            maps = self._token_maps[i]
            h = layer.attend(y, maps, gather)
            y = layer.read(h, self._views_of[i], bias[i], maps)
            self._outputs_at[i][place].copy_(y)
        return y[:, 0]

    def _write(self, finished: np.ndarray) -> None:
        """Writes the least recently used slot of each layer in rows that finished a segment."""
        rows = self._rows_of(finished)  # (n R,), those of all layers at once
        last = np.tile(self.clock[finished] - 1, self._by_layer[0])
        slots = self._slots_of(rows)
        # Empty slots, of anchor -1, come first.
        slot = rows * self._slots + self._anchors[slots].argmin(-1)
        anchor = self._anchors[slot]
        position = last[:, None] - self._age[self._place]
        empty = (anchor < 0)[:, None]
        table = self._table_of_slot[slot][:, None]
        bias = self._bias(anchor[:, None] - position, empty, table).mT  # (n R, H, L)
        at, maps, layer = self._index(slot), self._memory_maps, self.elmur.layers[0]
        old = self._memory.index_select(0, at)
        h = self._outputs.flatten(0, 1).index_select(0, self._index(rows))
        share = layer.blend.share(self._index(empty), h)
        new = layer.write(h, old, share, bias, maps)
        self._memory.index_copy_(0, at, new)
        self._views.index_copy_(0, at, layer.view(new, maps))
        self._overwritten = slot, anchor, old
        self._anchors[slot] = last

    def _bias(self, distance: np.ndarray, empty: np.ndarray, table: np.ndarray) -> Tensor:
        """Logits of distances, (...) to (..., H), from the table that begins at row `table`."""
        row = self.elmur.layers[0].distance_bias.row(distance, empty) + table
        return torch.nn.functional.embedding(self._index(row), self._tables)

    def _refresh(self) -> None:
        if self._version != self.elmur.weights_version():
            self._derive()

    def _derive(self) -> None:
        """Derives from the weights all that a step needs; runs the open tokens again."""
        layers, (n_layers, n_rows) = self.elmur.layers, self._by_layer
        self._version = self.elmur.weights_version()
        self._token_maps, memory_maps = zip(*self.elmur.absorb(), strict=True)
        self._memory_maps = MemoryMaps.stack(memory_maps) if n_layers > 1 else memory_maps[0]
        self._tables = torch.cat([layer.distance_bias.table for layer in layers])
        first = len(self._tables) // n_layers * np.arange(n_layers)
        self._table_of_slot = first.repeat(n_rows * self._slots)
        self._initial_memory = torch.stack([layer.initial_memory for layer in layers])  # (n, M, d)
        initial = self._initial_memory.repeat(1, n_rows, 1).flatten(0, 1)
        empty = self._index(self._anchors < 0)[:, None]
        self._memory = torch.where(empty, initial, self._memory)
        # What tokens see of the slots: (n B M, H, 2 d + 1) and, at an episode's start, (n, M, ...).
        self._views = layers[0].view(self._memory, self._memory_maps)
        initial_views = layers[0].view(self._initial_memory.flatten(0, 1), self._memory_maps)
        self._views_of = self._views.unflatten(0, (*self._by_layer, self._slots)).unbind()
        self._initial_views = initial_views.unflatten(0, (n_layers, self._slots))
        # Rows with fewer tokens fill places that their coming tokens will overwrite.
        phase = self.clock % self._length
        for age in range(int(phase.max()), 0, -1):
            place = (self._place - age) % self._length
            clock = np.maximum(self.clock - age, self.clock - phase)
            self._run_token(self._tokens[:, place], place, clock)

    def _rows_of(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows of a batch as rows of all layers, which stand layer by layer."""
        n_layers, n_rows = self._by_layer
        return (np.arange(n_layers)[:, None] * n_rows + np.asarray(rows)).reshape(-1)

    def _slots_of(self, rows: np.ndarray) -> np.ndarray:
        """The slots (..., M) of rows of all layers."""
        return rows[..., None] * self._slots + np.arange(self._slots)

    def _index(self, integers: Sequence[int] | np.ndarray) -> Tensor:
        """Integers or flags of the host on the device."""
        return torch.as_tensor(np.asarray(integers)).to(self.elmur.shift.device)
