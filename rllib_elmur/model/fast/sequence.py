"""The sequence schedule: whole segments of many rows, for training and batch evaluation.

In a layer only read and write depend on the segments before, so self-attention of all segments runs
at once. Reads and writes go in an order of their own: `at_once`, or `one_by_one`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rllib_elmur.model.fast import at_once, one_by_one
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
    schedule = at_once if elmur.config.write_before_read else one_by_one
    n_slots = elmur.config.memory_slots
    y, memories, contexts = tokens.flatten(0, 1), [], []  # (N L, d)
    for i, weights in enumerate(elmur.absorbed.layers()):
        h, behind = _attend(elmur, i, y, context, weights)
        layer, order = elmur.layers[i], queue.order[:, i]
        vacant = (state.anchors[:, i] < 0)[..., None]
        memory = torch.where(vacant, layer.initial_memory, state.memory[:, i])
        memory = memory[packing.order[:, None], order[packing.order]]  # (B, M, d)
        y, entries = schedule.read_and_write(layer, i, h, memory, packing, queue, weights)
        memories.append(entries[packing.find(packing.rank[:, None], queue.last[:, i], n_slots)])
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


def _with_memory_parameters(elmur: "ELMUR", y: Tensor) -> Tensor:
    """Adds 0 times each parameter of the memory track to the outputs.

    Learners side by side (DistributedDataParallel) wait for the gradient of every parameter in
    every step. Where no written slot is read, these parameters would have none.
    """
    return y + 0.0 * torch.stack([p.sum() for p in elmur.memory_parameters()]).sum()
