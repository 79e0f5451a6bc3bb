"""The step schedule: one token a row, with all that it needs of the past at hand."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.model.attention import SlotViews
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.layer import MemoryMaps, SegmentInputs, TokenMaps
from rllib_elmur.model.state import State


class LiveBatch:
    """A batch of running episodes, advanced in place in O(L + M) a step and without gradient.

    Of the open segment it keeps each layer's tokens and outputs, of the memory what tokens see of
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

    @torch.inference_mode()
    def __init__(self, elmur: ELMUR, state: State):
        c, n_rows, like = elmur.config, len(state.clock), state.segment
        self.elmur, self._length = elmur, c.segment_length
        self._layers, self._device = list(elmur.layers), like.device
        # The integers that steer are the host's: no step waits for a device to tell them.
        self.clock = state.clock.numpy(force=True).copy()
        self._anchors = state.anchors.transpose(0, 1).numpy(force=True).copy()  # (n, B, M)
        token = np.arange(self._length)
        # How old a ring's entries are, by place, (L, L).
        self._age = self._layers[0].self_attention.age.numpy(force=True)
        # How far back a row of some phase must not look: (places, phases, places of keys, 1).
        hidden = torch.from_numpy(self._age[:, None] > token[:, None])[..., None]
        self._hidden = like.new_zeros(hidden.shape).masked_fill_(hidden.to(like.device), -torch.inf)
        self._place = 0
        # What the last step's writes replaced: slots, their anchors, their contents.
        self._overwritten: tuple[np.ndarray, np.ndarray, Tensor] | None = None
        rows, phase = np.arange(n_rows)[:, None], (self.clock % self._length)[:, None]
        open_token = self._index(rows), self._index(phase - self._age[0])
        self._tokens = like[open_token]  # (B, L, d), along the ring as all of the following
        self._outputs = like.new_empty(c.n_layers, *like.shape)
        self._context = like.new_zeros(c.n_layers, *like.shape)  # what tokens attend to
        # Where each layer and place writes; making views anew would cost as much as writing.
        self._outputs_at = [layer.unbind(1) for layer in self._outputs]
        self._context_at = [layer.unbind(1) for layer in self._context]
        self._memory = state.memory.transpose(0, 1).flatten(0, 2)  # (n B M, d)
        self._derive()

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        """Advances every row by a token, (B, d); returns the outputs, (B, d), inference tensors."""
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

    @torch.inference_mode()
    def reset(self, rows: Sequence[int]) -> None:
        """Starts a new episode in some rows."""
        self._refresh()
        self.clock[rows] = 0
        self._anchors[:, rows] = -1
        index = self._index(rows)
        self._memory_of.index_copy_(1, index, self._initial_memory.expand(-1, len(rows), -1, -1))
        self._views_of.index_copy_(1, index, self._initial_views.expand(-1, len(rows), -1, -1, -1))

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
            anchors.reshape(-1)[slot] = old_anchors
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
        anchors = anchors[:, rows].swapaxes(0, 1)
        empty = self._index(anchors < 0)[..., None]
        segment = self._tokens[index[:, None], self._index((place - phase + token) % self._length)]
        memory = memory.unflatten(0, self._anchors.shape)[:, index].transpose(0, 1)
        return State(
            memory=memory.masked_fill(empty, 0.0),
            anchors=self._index(anchors.copy()),
            clock=self._index(clock),
            segment=segment.masked_fill(self._index(token >= phase)[..., None], 0.0),
        )

    def _run_token(self, x: Tensor, place: int, clock: np.ndarray) -> Tensor:
        """Attend and read for one token a row, (B, d), which lies at `place` of the ring."""
        phase = self._index(clock % self._length)
        distance, tables = clock[:, None] - self._anchors, self._tables_begin[:, None, None]
        bias = self._bias(distance, self._anchors < 0, tables)[..., None]  # (n, B, M, H, T = 1)
        y = x
        for i, layer in enumerate(self._layers):

            def gather(token: Tensor, maps: TokenMaps, i: int = i) -> SegmentInputs:
                self._context_at[i][place].copy_(token)
                shift = self._shift[i][place].index_select(0, phase)  # (B, L H)
                position = torch.addmm(shift, token, self._position[i][place])
                return SegmentInputs(
                    query=maps.query(token).view(len(token), -1, token.shape[-1]),
                    context=self._context[i],
                    position=position.view(len(token), self._length, -1),
                )

            maps = self._token_maps[i]
            h = layer.attend(y, maps, gather)
            y = layer.read(h, self._slot_views[i], bias[i], maps)
            self._outputs_at[i][place].copy_(y)
        return y

    def _write(self, finished: np.ndarray) -> None:
        """Writes the least recently used slot of each layer in rows that finished a segment."""
        n_layers, n_rows, n_slots = self._anchors.shape
        rows = (np.arange(0, n_layers * n_rows, n_rows)[:, None] + finished).reshape(-1)  # (n R,)
        oldest = self._anchors.reshape(-1, n_slots)[rows].argmin(-1)  # empty, of anchor -1, first
        slot = rows * n_slots + oldest
        anchor = self._anchors.reshape(-1)[slot]
        last = np.concatenate([self.clock[finished] - 1] * n_layers)
        position = last[:, None] - self._age[self._place]
        empty = (anchor < 0)[:, None]
        tables = self._tables_begin.repeat(len(finished))[:, None]
        bias = self._bias(anchor[:, None] - position, empty, tables)  # (n R, L, H)
        at, maps, layer = self._index(slot), self._memory_maps, self._layers[0]
        old = self._memory.index_select(0, at)
        h = self._outputs.flatten(0, 1).index_select(0, self._index(rows))
        share = layer.blend.share(self._index(empty), h)
        new = layer.write(h, old, share, bias, maps)
        self._memory.index_copy_(0, at, new)
        self._views.index_copy_(0, at, layer.view(new, maps))
        self._overwritten = slot, anchor, old
        self._anchors.reshape(-1)[slot] = last

    def _bias(self, distance: np.ndarray, empty: np.ndarray, table: np.ndarray) -> Tensor:
        """Logits of distances, (...) to (..., H), from the table that begins at row `table`."""
        row = self._layers[0].distance_bias.row(self._index(distance), self._index(empty))
        return torch.embedding(self._tables, row.add_(self._index(table)))

    def _refresh(self) -> None:
        if self._version != self.elmur.weights_version():
            self._derive()

    def _derive(self) -> None:
        """Derives from the weights all that a step needs; runs the open tokens again."""
        layers, n_layers = self._layers, len(self._anchors)
        self._version = self.elmur.weights_version()
        self._token_maps, memory_maps = zip(*self.elmur.absorb(), strict=True)
        self._memory_maps = MemoryMaps.stack(memory_maps) if n_layers > 1 else memory_maps[0]
        # Position logits by layer and place: weights (d, L H), and constants by phase (L, L H).
        self._position = [maps.position.weight.unbind() for maps in self._token_maps]
        shift = [maps.position.bias.unflatten(-1, (self._length, -1)) for maps in self._token_maps]
        self._shift = [(bias + self._hidden).flatten(2).unbind() for bias in shift]
        self._tables = torch.cat([layer.distance_bias.table for layer in layers])
        self._tables_begin = np.arange(n_layers) * (len(self._tables) // n_layers)
        initial = torch.stack([layer.initial_memory for layer in layers])  # (n, M, d)
        self._initial_memory = initial[:, None]
        memory = self._memory.view(*self._anchors.shape, -1)
        empty = self._index(self._anchors < 0)[..., None]
        # All slots (n B M, d), what tokens see of them (n B M, H, 2 d), and both by layer and row.
        self._memory = torch.where(empty, self._initial_memory, memory).flatten(0, 2)
        self._views = layers[0].view(self._memory, self._memory_maps)
        self._memory_of, self._views_of = (
            slots.unflatten(0, self._anchors.shape) for slots in (self._memory, self._views)
        )
        self._slot_views = [SlotViews.of(views) for views in self._views_of]
        initial_views = layers[0].view(initial.flatten(0, 1), self._memory_maps)
        self._initial_views = initial_views.unflatten(0, initial.shape[:2])[:, None]
        # Rows with fewer tokens fill places that their coming tokens will overwrite.
        phase = self.clock % self._length
        for age in range(int(phase.max()), 0, -1):
            place = (self._place - age) % self._length
            clock = np.maximum(self.clock - age, self.clock - phase)
            self._run_token(self._tokens[:, place], place, clock)

    def _index(self, integers: Sequence[int] | np.ndarray) -> Tensor:
        """Integers or flags of the host on the device."""
        return torch.from_numpy(np.asarray(integers)).to(self._device)
