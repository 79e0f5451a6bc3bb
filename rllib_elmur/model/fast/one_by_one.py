"""Reads and writes where what is written has read memory (the paper): segment after segment."""

import torch
from torch import Tensor

from rllib_elmur.model.equations import ELMURLayer
from rllib_elmur.model.fast import layer as fast
from rllib_elmur.model.fast.packed import Packing
from rllib_elmur.model.fast.queue import Queue
from rllib_elmur.model.fast.weights import LayerWeights


def read_and_write(
    layer: ELMURLayer,
    i: int,
    h: Tensor,
    memory: Tensor,
    packing: Packing,
    queue: Queue,
    weights: LayerWeights,
) -> tuple[Tensor, Tensor]:
    """Layer i reads and writes, segment after segment.

    Args:
        layer: The layer.
        i: Its number.
        h: Tokens of whole segments, (N L, d).
        memory: Slots at the call's start, least recently used first, longest rows first, (M, B, d).
        packing: Where the segments lie.
        queue: What each of them reads and writes.
        weights: The layer's weights.

    Returns:
        The outputs, (N L, d), and all entries of the rows' queues, see `Packing.find`.
    """
    n_slots, length = len(memory), layer.segment_length
    entry = packing.segment[:, None] + torch.arange(n_slots, device=h.device)  # (N, M)
    distance, empty = queue.distance(i, packing.row, entry, packing.position(length))
    read_bias = layer.distance_bias(distance, empty).mT.contiguous()  # (N, M, H, L)
    write_bias = layer.distance_bias(-distance[:, 0], empty[:, 0])  # (N, L, H)
    share = fast.blend_share(empty[:, 0], layer.lru_blend, h)  # (N, 1)
    entries, outputs = list(memory.unbind()), []
    projected = list(fast.project_slots(memory, weights.write).unbind())
    # The longest rows come first, so segment s concerns a prefix of the rows.
    h = h.unflatten(0, (-1, length))  # (N, L, d)
    parts = (t.split(packing.active) for t in (h, read_bias, write_bias, share))
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
    return torch.cat(outputs), torch.cat(entries)
