"""ELMUR: one set of layers, two schedules."""

import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.attention import SlotViews
from rllib_elmur.model.layer import ELMURLayer, MemoryMaps, SegmentInputs, TokenMaps
from rllib_elmur.model.segments import Packing, Queue
from rllib_elmur.model.state import State


class ELMUR(nn.Module):
    """A transformer with external layer memory (ELMUR, arXiv:2510.07151).

    `forward` is the sequence schedule: whole segments, for training and batch evaluation. The step
    schedule, one token a row for rollouts, is `rllib_elmur.model.live.LiveBatch`. Both call the
    same `ELMURLayer.attend`, `.read` and `.write`; however an episode is cut into calls, outputs
    and final state agree.

    Args:
        config: The options; those of `ELMURConfig` that concern training sequences are not used.
    """

    _weights: tuple[Tensor, ...]
    _replaced = 0
    future: Tensor  # minus infinity where a key comes after a query, (queries L, 1, L, 1)

    def __init__(self, config: ELMURConfig):
        super().__init__()
        self.config = config
        layers = nn.ModuleList(ELMURLayer(config) for _ in range(config.n_layers))
        self.layers = cast("Sequence[ELMURLayer]", layers)
        self.final_norm = nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()
        self._kept: tuple[tuple[int, ...] | None, list[tuple[TokenMaps, MemoryMaps]]] = None, []
        _collect_weights(self)
        self.register_load_state_dict_post_hook(_collect_weights)
        future = torch.full([config.segment_length] * 2, -torch.inf).triu(1)[:, None, :, None]
        self.register_buffer("future", future, persistent=False)

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
        queue = Queue.of(state, packing)
        tokens = packing.pack(x, state)  # (N, L, d)
        y, memories, maps = tokens.flatten(0, 1), [], self.absorb()
        for i in range(len(self.layers)):
            y, memory = self._run_layer(i, y, state, packing, queue, maps[i])
            memories.append(memory)
        state = State(
            # Nothing of an empty slot travels.
            memory=torch.stack(memories, dim=1).masked_fill((queue.anchors < 0)[..., None], 0.0),
            anchors=queue.anchors,
            clock=state.clock + lengths,
            segment=packing.open_segment(tokens),
        )
        y = self._with_all_parameters(self.final_norm(y), packing)
        return packing.unpack(y.view(tokens.shape), x.shape[1]), state

    def absorb(self) -> list[tuple[TokenMaps, MemoryMaps]]:
        """What each layer derives from its weights; without gradient it is kept while they are."""
        if torch.is_grad_enabled():
            self._kept = None, []  # what is trained is about to change
            return [layer.absorb() for layer in self.layers]
        version = self.weights_version()
        if self._kept[0] != version:
            # In either mode it may be used in the other: some of it are views of the parameters.
            with torch.inference_mode(False), torch.no_grad():
                self._kept = version, [layer.absorb() for layer in self.layers]
        return self._kept[1]

    def _run_layer(
        self,
        i: int,
        x: Tensor,
        state: State,
        packing: Packing,
        queue: Queue,
        maps: tuple[TokenMaps, MemoryMaps],
    ) -> tuple[Tensor, Tensor]:
        """Layer i over packed segments (N L, d): attend at once, read and write in turn.

        Returns the outputs, (N L, d), and the memory after each row's last segment, (B, M, d).
        """
        layer, n_slots = self.layers[i], state.anchors.shape[-1]
        token_maps, memory_maps = maps
        h = layer.attend(x, token_maps, self._whole_segments)
        distance, empty = queue.distance[:, i], queue.empty[:, i]  # (N, M, L), (N, M)
        read_bias = layer.distance_bias(distance, empty[..., None]).mT.contiguous()  # (N, M, H, L)
        write_bias = layer.distance_bias(-distance[:, 0], empty[:, :1])  # (N, L, H)
        order = queue.order[:, i][packing.order]
        vacant = (state.anchors[:, i] < 0)[..., None]
        memory = torch.where(vacant, layer.initial_memory, state.memory[:, i])
        memory = memory[packing.order[:, None], order]  # (B, M, d)
        entries = list(memory.unbind(1))
        views = list(layer.view(memory, memory_maps).unbind(1))
        # The longest rows come first, so segment s concerns a prefix of the rows.
        share = layer.blend.share(empty[:, :1], h)  # (N, 1)
        h = h.unflatten(0, (-1, self.config.segment_length))
        parts = (t.split(packing.active) for t in (h, read_bias, write_bias, share))
        outputs = []
        for s, (h_s, read_s, write_s, share_s) in enumerate(zip(*parts, strict=True)):
            window = torch.stack([view[: len(h_s)] for view in views[s : s + n_slots]], dim=1)
            y = layer.read(h_s.flatten(0, 1), SlotViews.of(window), read_s, token_maps)
            outputs.append(y)
            n = packing.complete[s]
            if n:
                tokens = y.view(h_s.shape)[:n]
                slot = layer.write(tokens, entries[s][:n], share_s[:n], write_s[:n], memory_maps)
                entries.append(layer.between_segments(slot))
            if s + 1 < len(packing.active):  # what the last segment wrote is read by none
                views.append(layer.view(entries[-1], memory_maps))
        return torch.cat(outputs), packing.pick(entries, queue.last[:, i])

    def _with_all_parameters(self, y: Tensor, packing: Packing) -> Tensor:
        """Lets outputs depend on what wrote, by nothing, where none of them does.

        Learners side by side wait for the gradient of every parameter in every step; what is
        written counts only if the batch holds a segment behind it.
        """
        if not torch.is_grad_enabled():
            return y
        if len(packing.active) > 1 and not self.config.detach_memory:
            return y
        return y + 0.0 * torch.stack([p.sum() for p in self.memory_parameters()]).sum()

    def _whole_segments(self, tokens: Tensor, maps: TokenMaps) -> SegmentInputs:
        """Tokens of whole segments (N L, d) attend to each other: `gather` of `attend`."""
        length = self.config.segment_length
        shift = maps.position.bias.unflatten(-1, (length, -1)) + self.future  # (L, 1, L, H)
        segments = tokens.unflatten(0, (-1, length))
        by_query = segments.transpose(0, 1)  # (L, N, d)
        logits = torch.baddbmm(shift.flatten(2), by_query, maps.position.weight)
        logits = logits.unflatten(-1, (length, -1))  # (queries, N, keys, H)
        return SegmentInputs(
            query=maps.query(tokens).view(len(segments), -1, tokens.shape[-1]),
            context=segments,
            position=logits.permute(1, 2, 0, 3).flatten(2),  # (N, keys, queries H)
        )

    def memory_parameters(self) -> list[nn.Parameter]:
        """The parameters of the memory track: what a slot begins with and what is written."""
        return [p for layer in self.layers for p in layer.memory_parameters()]

    def weights_version(self) -> tuple[int, ...]:
        """A stamp of the weights: how often they were replaced and PyTorch saw each written.

        PyTorch does not count what a fused optimizer or a write to `.data` does to them.
        """
        return self._replaced, *map(_writes, self._weights)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets: it derives anew what is derived from weights."""
        return {**self.__dict__, "_kept": (None, [])}

    def _apply(self, fn: Any, recurse: bool = True) -> "ELMUR":
        """Moves or converts the weights (`to`)."""
        super()._apply(fn, recurse)
        _collect_weights(self)
        return self


_writes = operator.attrgetter("_version")


def _collect_weights(model: ELMUR, _: object = None) -> None:
    """Walking through all submodules is too slow for every step."""
    model._weights = tuple(model.parameters())
    model._replaced += 1
