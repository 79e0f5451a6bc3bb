"""ELMUR: one set of layers, two schedules."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.attention import Past
from rllib_elmur.model.layer import ELMURLayer
from rllib_elmur.model.memory import lru_order
from rllib_elmur.model.segments import Packing, Ring
from rllib_elmur.model.state import Cache, State


class ELMUR(nn.Module):
    """A transformer with external layer memory (ELMUR, arXiv:2510.07151).

    `forward` is the sequence schedule: whole segments, for training and batch evaluation. `step`
    is the step schedule: one token with cached keys and values, for rollouts. Both call the same
    `ELMURLayer.attend`, `.read` and `.write`; however an episode is cut into calls, outputs and
    final state agree.

    Args:
        config: The options; those of `ELMURConfig` that concern training sequences are not used.
    """

    _weights: tuple[Tensor, ...]
    distance: Tensor  # of the tokens of a segment from each other, (L, L)

    def __init__(self, config: ELMURConfig):
        super().__init__()
        self.config = config
        layers = nn.ModuleList(ELMURLayer(config) for _ in range(config.n_layers))
        self.layers = cast("Sequence[ELMURLayer]", layers)
        self.final_norm = nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()
        _collect_weights(self)
        self.register_load_state_dict_post_hook(_collect_weights)
        token = torch.arange(config.segment_length)
        self.register_buffer("distance", token[:, None] - token, persistent=False)

    def initial_state(self, batch_size: int = 1) -> State:
        """The state of `batch_size` episodes at their start."""
        c = self.config
        like = self.layers[0].initial_memory
        return State.initial(
            batch_size, c.n_layers, c.memory_slots, c.segment_length, c.d_model, like
        )

    def forward(
        self, x: Tensor, state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Runs T tokens a row, from any clock; gradient flows through every segment.

        Args:
            x: Tokens, (B, T, d).
            state: The state before the first token.
            lengths: Tokens that are data in each row, (B,) int64, T if None; the rest is padding,
                which writes nothing. At least one row must hold data.

        Returns:
            Outputs (B, T, d), zero at the padding, and the state after each row's last token.
        """
        if lengths is None:
            lengths = torch.full_like(state.clock, x.shape[1])
        packing = Packing.of(state, lengths)
        ring = Ring.of(state, packing)
        tokens = packing.pack(x, state)  # (N, L, d)
        y, memories = tokens, []
        for i in range(len(self.layers)):
            y, memory = self._run_layer(i, y, self._load(i, state), packing, ring)
            memories.append(memory)
        anchors = ring.final_anchors(state, packing)
        state = State(
            # Nothing of an empty slot travels.
            memory=torch.stack(memories, dim=1).masked_fill((anchors < 0)[..., None], 0.0),
            anchors=anchors,
            clock=state.clock + lengths,
            segment=packing.open_segment(tokens),
        )
        return packing.unpack(self.final_norm(y), x.shape[1]), state

    def _load(self, i: int, state: State) -> Tensor:
        """The memory of layer i, (B, M, d), its empty slots from the parameter."""
        empty = (state.anchors[:, i] < 0)[..., None]
        return torch.where(empty, self.layers[i].initial_memory, state.memory[:, i])

    def _run_layer(
        self, i: int, x: Tensor, memory: Tensor, packing: Packing, ring: Ring
    ) -> tuple[Tensor, Tensor]:
        """Layer i over packed segments (N, L, d): attend at once, read and write in turn.

        Returns the outputs, (N, L, d), and the memory after each row's last segment, (B, M, d).
        """
        layer = self.layers[i]
        h = layer.attend(x, None, self.distance)
        distance, empty = ring.distance[:, i], ring.empty[:, i, None]  # (N, L, M), (N, 1, M)
        read_bias = layer.distance_bias(distance, empty)  # (N, H, L, M)
        write_bias = layer.distance_bias(-distance.mT, empty.mT)  # (N, H, M, L)
        # The longest rows come first and slots stand in LRU order, so segment s concerns a
        # prefix of the rows and writes slot s mod M. Rows that end leave their memory in `final`.
        slots = ring.order[:, i]
        memory, final = memory[packing.order[:, None], slots[packing.order]], []
        parts = (t.split(packing.active) for t in (h, read_bias, write_bias, empty.squeeze(1)))
        outputs = []
        for s, (h_s, read_bias_s, write_bias_s, empty_s) in enumerate(zip(*parts, strict=True)):
            final.append(memory[len(h_s) :])
            memory = memory[: len(h_s)]
            y = layer.read(h_s, layer.mem2tok.project(memory), read_bias_s)
            outputs.append(y)

            n, j = packing.complete[s], s % memory.shape[1]
            final.append(memory[n:])
            memory = memory[:n]
            if n:
                bias = write_bias_s[:n, :, j, None]
                slot = layer.write(y[:n], memory[:, j], empty_s[:n, j, None], bias)
                memory = torch.cat([memory[:, :j], slot[:, None], memory[:, j + 1 :]], dim=1)
                memory = layer.between_segments(memory)
        final.append(memory)
        memory = torch.cat(final[::-1])[packing.rank[:, None], slots.argsort(dim=-1)]
        return torch.cat(outputs), memory

    @torch.no_grad()
    def step(
        self, x: Tensor, state: State, cache: Cache | None = None
    ) -> tuple[Tensor, State, Cache]:
        """Runs one token a row in O(L + M), without gradient.

        Args:
            x: Tokens, (B, d).
            state: The state before the token; left as it is.
            cache: What the last step returned; its tensors are reused. It is rebuilt from the open
                segment's tokens if None, or if the weights (or the inference mode, whose tensors
                cannot be written elsewhere) have changed since. PyTorch does not count what a fused
                optimizer or a write to `.data` does to them: hand in None after these.

        Returns:
            Outputs (B, d), the next state, and the cache for it.
        """
        if cache is None or cache.version != self._weights_version():
            cache = self._rebuild(state)
        rows = torch.arange(len(x), device=x.device)
        phase = state.clock % self.config.segment_length
        y = self._run_token(x, phase, state, cache)
        segment = state.segment.clone()
        segment[rows, phase] = x
        state = state._replace(clock=state.clock + 1, segment=segment)
        finished = (state.clock % self.config.segment_length == 0).nonzero()[:, 0]
        if len(finished):
            state = self._finish_segment(finished, state, cache)
        return self.final_norm(y), state, cache

    def _run_token(self, x: Tensor, place: Tensor, state: State, cache: Cache) -> Tensor:
        """Attend and read for one token a row, x (B, d), at `place` (B,) of its segment."""
        segment_length = self.config.segment_length
        rows = torch.arange(len(x), device=x.device)
        start = state.clock // segment_length * segment_length
        position = (start + place)[:, None, None]  # (B, T=1, 1)
        token = torch.arange(segment_length, device=x.device)
        to_tokens = (place[:, None] - token)[:, None, None]  # (B, H=1, T=1, L)
        y = x[:, None]  # (B, T=1, d)
        for i, layer in enumerate(self.layers):
            h = layer.attend(y, Past(cache.keys[i], cache.values[i], place), to_tokens)
            anchors = state.anchors[:, i, None]  # (B, T=1, M)
            bias = layer.distance_bias(position - anchors, anchors < 0)
            y = layer.read(h, (cache.memory_keys[i], cache.memory_values[i]), bias)
            cache.outputs[i][rows, place] = y[:, 0]
        return y[:, 0]

    def _finish_segment(self, rows: Tensor, state: State, cache: Cache) -> State:
        """Write in the rows, (R,) indices, whose segment is complete."""
        segment_length = self.config.segment_length
        memory, anchors = state.memory.clone(), state.anchors.clone()
        last = state.clock[rows] - 1
        token = last[:, None] - torch.arange(segment_length - 1, -1, -1, device=last.device)
        for i, layer in enumerate(self.layers):
            j = lru_order(anchors[rows, i])[:, 0]
            anchor = anchors[rows, i, j][:, None]  # (R, 1)
            empty = anchor < 0
            slot = torch.where(empty, layer.initial_memory[j], memory[rows, i, j])
            bias = layer.distance_bias((anchor - token)[:, None], empty[:, None])
            slot = layer.write(cache.outputs[i][rows], slot, empty, bias)
            memory[rows, i, j] = slot
            anchors[rows, i, j] = last
            key, value = layer.mem2tok.project(slot[:, None])
            cache.memory_keys[i][rows, :, j] = key[:, :, 0]
            cache.memory_values[i][rows, :, j] = value[:, :, 0]
        segment = state.segment.index_fill(0, rows, 0.0)
        return state._replace(memory=memory, anchors=anchors, segment=segment)

    def _rebuild(self, state: State) -> Cache:
        """The cache of a state: its memory projected, its open segment's tokens run again."""
        c, batch_size = self.config, len(state.clock)
        like, head = state.segment, c.d_model // c.n_heads
        tokens = (c.n_layers, batch_size, c.n_heads, c.segment_length, head)
        memory_keys, memory_values = [], []
        for i, layer in enumerate(self.layers):
            key, value = layer.mem2tok.project(self._load(i, state))
            memory_keys.append(key)
            memory_values.append(value)
        cache = Cache(
            keys=like.new_zeros(tokens),
            values=like.new_zeros(tokens),
            outputs=like.new_zeros(c.n_layers, batch_size, c.segment_length, c.d_model),
            memory_keys=torch.stack(memory_keys),
            memory_values=torch.stack(memory_values),
            version=self._weights_version(),
        )
        # Rows with fewer tokens fill places that their coming tokens will overwrite.
        for place in range(int((state.clock % c.segment_length).max())):
            at = torch.full_like(state.clock, place)
            self._run_token(state.segment[:, place], at, state, cache)
        return cache

    def _weights_version(self) -> int:
        """A stamp of the weights: where they lie, and how often PyTorch saw them written."""
        written = tuple((w.data_ptr(), w._version) for w in self._weights)
        return hash((written, torch.is_inference_mode_enabled()))


def _collect_weights(model: ELMUR, _: object = None) -> None:
    """Walking through all submodules is too slow for every step."""
    model._weights = tuple(model.parameters())
