"""The sequence schedule: whole segments of many rows, for training and batch evaluation.

In a layer only read and write depend on the segments before, so self-attention of all segments runs
at once. Reads and writes go in an order of their own: `at_once`, or `one_by_one`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rllib_elmur.model.equations import ELMURLayer
from rllib_elmur.model.fast import at_once, one_by_one
from rllib_elmur.model.fast import layer as fast
from rllib_elmur.model.fast.context import OwnSegment
from rllib_elmur.model.fast.ops import norm, take
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
    context = elmur.attention_scope(elmur.config, state, packing)
    schedule = at_once if elmur.config.write_before_read else one_by_one
    n_slots = elmur.config.memory_slots
    y, memories, contexts = tokens.flatten(0, 1), [], []  # (N L, d)
    for i, weights in enumerate(elmur.absorbed.layers()):
        h, behind = _attend(elmur, i, y, context, weights)
        layer, order = elmur.layers[i], queue.order[:, i]
        memory = _slots(state.memory[:, i], state.anchors[:, i] < 0, layer, order, packing)
        y, entries = schedule.read_and_write(layer, i, h, memory, packing, queue, weights)
        last = packing.find(packing.rank[:, None], queue.last[:, i], n_slots)
        memories.append(take(entries, last))  # (B, M, d)
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
    if torch.is_grad_enabled():
        y = _with_every_parameter(elmur, packing, y)
    return packing.unpack(y.view(tokens.shape), x.shape[1]), state


def _attend(
    elmur: "ELMUR", i: int, x: Tensor, context: OwnSegment, weights: LayerWeights
) -> tuple[Tensor, Tensor]:
    """Tokens of whole segments (N L, d) attend in layer i, chunk by chunk.

    Returns what they become, and the context of each row's open segment, (B, W - 1, d).
    """
    w = weights.attend
    tokens = norm(x, w.residual.before)
    segments = tokens.unflatten(0, (-1, elmur.config.segment_length))  # (N, L, d)
    chunks, seen, behind = context.around(i, segments)  # (N_c, C, d), (N_c, K, d)
    position = context.hide(elmur.positions.of_chunks(chunks, w.position))  # (N_c, K, C H)
    mixed = fast.mix_context(chunks.flatten(0, 1), seen, position, w)
    return fast.attend(x, context.of_tokens(mixed), w), behind


def _slots(
    memory: Tensor, empty: Tensor, layer: ELMURLayer, order: Tensor, packing: Packing
) -> Tensor:
    """Slots (B, M, d) at the call's start, by LRU order and longest row first, (M, B, d).

    Those that are `empty` (B, M) are the layer's own.
    """
    n_rows, n_slots = empty.shape
    slot = torch.arange(n_slots, device=order.device)
    row = torch.arange(n_rows, device=order.device)[:, None]
    source = torch.where(empty, n_rows, row) * n_slots + slot
    index = source.gather(1, order)[packing.order].mT  # (M, B)
    return take(torch.cat([memory.flatten(0, 1), layer.initial_memory]), index)


def _with_every_parameter(elmur: "ELMUR", packing: Packing, y: Tensor) -> Tensor:
    """Adds 0 times each parameter that the outputs do not depend on.

    Learners side by side (DistributedDataParallel) wait for the gradient of every parameter in
    every step. Where no written slot is read, the memory track has none; where a segment is one
    token, what chooses among its tokens.
    """
    unused: list[Tensor] = []
    if len(packing.active) == 1 or elmur.config.detach_memory:
        unused += elmur.memory_parameters()
    elif elmur.config.segment_length == 1:
        for layer in elmur.layers:
            unused += [layer.tok2mem.query.weight, *layer.write_residual.before.parameters()]
    return y + 0.0 * torch.stack([p.sum() for p in unused]).sum() if unused else y
