"""The sequence schedule: whole segments of many rows, for training and batch evaluation.

In a layer only read and write depend on the segment before, so self-attention of all segments runs
at once; then segment s of all rows that have one, for s = 0, 1, ...
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rllib_elmur.model.equations import ELMURLayer
from rllib_elmur.model.fast import layer as fast
from rllib_elmur.model.fast.context import OwnSegment
from rllib_elmur.model.fast.ops import norm
from rllib_elmur.model.fast.packed import Packing
from rllib_elmur.model.fast.queue import Queue
from rllib_elmur.model.fast.weights import LayerWeights
from rllib_elmur.model.state import State

if TYPE_CHECKING:
    from rllib_elmur.model.elmur import ELMUR


def run_sequence(
    elmur: "ELMUR", x: Tensor, state: State, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Runs T tokens a row from any clock; arguments and results are those of `ELMUR.forward`."""
    if lengths is None:
        lengths = torch.full_like(state.clock, x.shape[1])
    packing = Packing.of(state, lengths)
    queue = Queue.of(state, packing)
    tokens = packing.pack(x, state)  # (N, L, d)
    context = elmur.attention_scope(state, packing)
    y, memories, contexts = tokens.flatten(0, 1), [], []  # (N L, d)
    for i, weights in enumerate(elmur.absorbed.layers()):
        h, behind = _attend(elmur, i, y, context, weights)
        y, memory = _read_and_write(elmur.layers[i], i, h, state, packing, queue, weights)
        memories.append(memory)
        contexts.append(behind)
    state = State(
        # Nothing of an empty slot travels.
        memory=torch.stack(memories, dim=1).masked_fill((queue.anchors < 0)[..., None], 0.0),
        anchors=queue.anchors,
        clock=state.clock + lengths,
        segment=packing.open_segment(tokens),
        context=torch.stack(contexts, dim=1),
    )
    y = elmur.final_norm(y)
    if torch.is_grad_enabled() and (len(packing.active) == 1 or elmur.config.detach_memory):
        y = _with_memory_parameters(elmur, y)
    return packing.unpack(y.view(tokens.shape), x.shape[1]), state


def _attend(
    elmur: "ELMUR", i: int, x: Tensor, context: OwnSegment, weights: LayerWeights
) -> tuple[Tensor, Tensor]:
    """Tokens of whole segments (N L, d) attend in layer i.

    Returns what they become, and the context of each row's open segment, (B, W - 1, d).
    """
    w = weights.attend
    tokens = norm(x, w.residual.before)
    segments = tokens.unflatten(0, (-1, elmur.config.segment_length))  # (N, L, d)
    position = context.hide(elmur.positions.of_segments(segments, w.position))  # (N, K, L H)
    seen, behind = context.around(i, segments)
    return fast.attend(x, tokens, seen, position, w), behind


def _read_and_write(
    layer: ELMURLayer,
    i: int,
    h: Tensor,
    state: State,
    packing: Packing,
    queue: Queue,
    weights: LayerWeights,
) -> tuple[Tensor, Tensor]:
    """Layer i reads and writes, segment after segment.

    Returns the outputs, (N L, d), and the memory after each row's last segment, (B, M, d).
    """
    n_slots = state.anchors.shape[-1]
    distance, empty = queue.distance[:, i], queue.empty[:, i]  # (N, M, L), (N, M)
    read_bias = layer.distance_bias(distance, empty[..., None]).mT.contiguous()  # (N, M, H, L)
    write_bias = layer.distance_bias(-distance[:, 0], empty[:, :1])  # (N, L, H)
    share = fast.blend_share(empty[:, :1], layer.lru_blend, h)  # (N, 1)
    vacant = (state.anchors[:, i] < 0)[..., None]
    memory = torch.where(vacant, layer.initial_memory, state.memory[:, i])
    memory = memory[packing.order[:, None], queue.order[:, i][packing.order]]  # (B, M, d)
    entries = list(memory.unbind(1))
    projected = list(fast.project_slots(memory, weights.write).unbind(1))
    # The longest rows come first, so segment s concerns a prefix of the rows.
    h = h.unflatten(0, (-1, layer.segment_length))  # (N, L, d)
    parts = (t.split(packing.active) for t in (h, read_bias, write_bias, share))
    outputs = []
    for s, (h_s, read_s, write_s, share_s) in enumerate(zip(*parts, strict=True)):
        read = torch.stack([p[: len(h_s)] for p in projected[s : s + n_slots]], dim=1)
        y = fast.read(h_s.flatten(0, 1), fast.Slots.of(read), read_s, weights.read)
        outputs.append(y)
        n = packing.complete[s]
        if n:
            tokens, slot = y.view(h_s.shape)[:n], entries[s][:n]
            slot = fast.write(tokens, slot, share_s[:n], write_s[:n], weights.write)
            entries.append(layer.between_segments(layer.rounding(slot)))
        if s + 1 < len(packing.active):  # what the last segment wrote is read by none
            projected.append(fast.project_slots(entries[-1], weights.write))
    return torch.cat(outputs), packing.pick(entries, queue.last[:, i])


def _with_memory_parameters(elmur: "ELMUR", y: Tensor) -> Tensor:
    """Adds 0 times each parameter of the memory track to the outputs.

    Learners side by side (DistributedDataParallel) wait for the gradient of every parameter in
    every step. Where no written slot is read, these parameters would have none.
    """
    return y + 0.0 * torch.stack([p.sum() for p in elmur.memory_parameters()]).sum()
