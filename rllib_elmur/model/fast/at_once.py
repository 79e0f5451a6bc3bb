"""Reads and writes where what is written has not read: M segments of every row at once.

A write waits for nothing but what its slot held before, M segments earlier. So the segments of a
row are taken in rounds of M. A round's segments read the M entries of the queue that were there
before them and those that the round writes; which of these a token sees is a matter of its logits.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rllib_elmur.model.equations import DistanceBias, ELMURLayer
from rllib_elmur.model.fast import layer as fast
from rllib_elmur.model.fast.ops import take
from rllib_elmur.model.fast.packed import Packing
from rllib_elmur.model.fast.queue import Queue
from rllib_elmur.model.fast.weights import LayerWeights


class Round(NamedTuple):
    """Up to M segments of the R longest rows; a row may have fewer.

    Attributes:
        written: The packed segments that are in it and that their rows fill, (F,).
        complete: How many of these belong to each segment index.
        row: The rows, (R,).
        position: Time steps of its K tokens, counted from the row's first segment, (K,).
        tokens: Where these lie, (R, K); those that a row does not have lie anywhere.
        packed: Where its packed segments lie among the segments of `tokens`, (N_r,).
        entry: The entries of the queue that are read, (E,).
        entries: Where these lie, (R, E); those that a row does not have lie anywhere.
        hidden: Minus infinity where an entry is not among the M that a token reads, (E, K, 1).
    """

    written: Tensor
    complete: list[int]
    row: Tensor
    position: Tensor
    tokens: Tensor
    packed: Tensor
    entry: Tensor
    entries: Tensor
    hidden: Tensor


def rounds(packing: Packing, n_slots: int, segment_length: int) -> Iterator[Round]:
    """The rounds of a call, each of which needs what those before it have written."""
    device, n_segments, begin = packing.order.device, len(packing.active), 0
    n_written = 0
    for s in range(0, n_segments, n_slots):
        size = min(n_slots, n_segments - s)
        end = begin + sum(packing.active[s : s + size])
        rank = torch.arange(packing.active[s], device=device)[:, None]
        position = torch.arange(s * segment_length, (s + size) * segment_length, device=device)
        tokens = packing.locate(rank[:, 0], position.expand(len(rank), -1), segment_length)
        entry = torch.arange(s, s + n_slots + size, device=device)
        ahead = entry[:, None] - position // segment_length  # of the token's segment, (E, K)
        those, complete = slice(begin, end), packing.complete[s : s + size]  # of its segments
        n_complete = sum(complete)
        yield Round(
            written=packing.written[n_written : n_written + n_complete],
            complete=complete,
            row=packing.order[: len(rank)],
            position=position,
            tokens=tokens.clamp(max=len(packing.row) * segment_length - 1),
            packed=packing.rank[packing.row[those]] * size + packing.segment[those] - s,
            entry=entry,
            entries=packing.find(rank, entry, n_slots),
            hidden=torch.where((ahead < 0) | (ahead >= n_slots), -torch.inf, 0.0)[..., None],
        )
        begin, n_written = end, n_written + n_complete


def read_and_write(
    layer: ELMURLayer,
    i: int,
    h: Tensor,
    memory: Tensor,
    packing: Packing,
    queue: Queue,
    weights: LayerWeights,
) -> tuple[Tensor, Tensor]:
    """Layer i writes and reads, round after round; see `one_by_one.read_and_write`."""
    n_slots, length, d = len(memory), layer.segment_length, h.shape[-1]
    entry = packing.segment[:, None]
    distance, empty = queue.distance(i, packing.row, entry, packing.position(length))
    write_bias = layer.distance_bias(-distance[:, 0], empty[:, 0])  # (N, L, H)
    share = fast.blend_share(empty[:, 0], layer.lru_blend, h)  # (N, 1)
    oldest = packing.find(packing.rank[packing.row], packing.segment, n_slots)  # (N,)
    segments, query = h.unflatten(0, (-1, length)), fast.read_query(h, weights.read)
    entries, mixed = memory.flatten(0, 1), []  # (M B, d)
    for r in rounds(packing, n_slots, length):
        at = r.written
        if len(at):
            h_r, share_r, bias_r = (take(x, at) for x in (segments, share, write_bias))
            slot = fast.write(h_r, take(entries, oldest[at]), share_r, bias_r, weights.write)
            slot = layer.between_segments(_rounded(layer, slot, r.complete))
            entries = torch.cat([entries, slot])
        # Token position less anchor for the round's first token, and empty slots, (R, E, 1).
        distance, empty = queue.distance(i, r.row, r.entry.expand(len(r.row), -1), r.position[:1])
        bias = _bias_of_successive_tokens(layer.distance_bias, distance, empty, len(r.position))
        bias = bias.add_(r.hidden).flatten(2)  # (R, E, K H)
        read = take(entries, r.entries.clamp(max=len(entries) - 1))  # (R, E, d)
        queries = take(query, r.tokens).view(len(r.row), -1, d)  # (R, K H, d)
        of_round = fast.mix_tokens(queries, read, bias)
        mixed.append(take(of_round.view(-1, length * query.shape[-1]), r.packed))
    mixed = torch.cat(mixed).view(query.shape)
    return fast.read_mixed(h, mixed, weights.read), entries


def _bias_of_successive_tokens(
    distance_bias: DistanceBias, distance: Tensor, empty: Tensor, n_tokens: int
) -> Tensor:
    """Logits of distances that grow by one from token to token.

    All rows take theirs from a few windows of the table: to look up each distance of each row, and
    to add up their gradients, would take longer than to attend.

    Args:
        distance_bias: The table.
        distance: From the first token, (R, E, 1).
        empty: Whether the entry is an empty slot, (R, E, 1).
        n_tokens: K.

    Returns:
        Logits (R, E, K, H).
    """
    reach = distance_bias.reach
    # From here on distances are clamped. Behind the windows stands that of empty slots.
    low, high = -reach - n_tokens, reach
    first = torch.arange(low, high + 2, device=distance.device)[:, None]
    token = torch.arange(n_tokens, device=distance.device)
    windows = distance_bias(first + token, first > high)
    window = (distance.clamp(low, high) - low).masked_fill_(empty, high + 1 - low)
    return take(windows, window[..., 0])


def _rounded(layer: ELMURLayer, slots: Tensor, complete: list[int]) -> Tensor:
    """Rounds what a round writes; the commitment loss is a mean over the rows of a segment."""
    if not getattr(layer.rounding, "commitment", 0.0):
        return layer.rounding(slots)
    parts = slots.split([n for n in complete if n])
    return torch.cat([layer.rounding(part) for part in parts])
