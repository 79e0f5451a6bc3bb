"""The position logits of self-attention, (q + v) r of equation 1, for every way of running tokens.

The key r depends on the distance of query and key alone, so for a query at a given place of its
segment the logits at all L places are one product with a matrix of that place.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_elmur.model.equations import SegmentAttention


class PositionWeights(NamedTuple):
    """Logits of a query at all keys, by the query's place in the segment.

    The key at place k is (q - k) mod L steps before the query at place q: so it is in a segment up
    to q, and in a ring of the last L tokens, of which q is the newest.

    Attributes:
        weight: (places of the query L, d, places of the key L * heads H).
        bias: (L, 1, L H).
    """

    weight: Tensor
    bias: Tensor


class Positions(nn.Module):
    """Absorbs the position keys and applies them.

    Args:
        segment_length: Tokens L of a segment.
    """

    age: Tensor  # how long before query q key k came, (L, L)
    future: Tensor  # minus infinity where a key comes after a query, (queries L, 1, keys L, 1)

    def __init__(self, segment_length: int):
        super().__init__()
        place = torch.arange(segment_length)
        future = torch.full([segment_length] * 2, -torch.inf).triu(1)[:, None, :, None]
        self.register_buffer("age", (place[:, None] - place) % segment_length, persistent=False)
        self.register_buffer("future", future, persistent=False)

    def absorb(self, attention: SegmentAttention, query: Tensor, scale: float) -> PositionWeights:
        """Multiplies the position keys into the queries' weights.

        Args:
            attention: The parameters.
            query: Its W_q by head, (H, d/H, d).
            scale: Of the logits.
        """
        r = attention.distance_keys * scale  # (H, L, d/H)
        weight = (r @ query)[:, self.age].permute(1, 3, 2, 0)  # (L, d, L, H)
        bias = (r @ attention.position_bias.mT)[:, self.age].permute(1, 3, 2, 0)  # (L, 1, L, H)
        return PositionWeights(weight.flatten(2), bias.flatten(2))

    def of_segments(self, tokens: Tensor, weights: PositionWeights) -> Tensor:
        """The logits of whole segments, tokens (N, L, d): (N, keys L, queries L * H)."""
        length = tokens.shape[1]
        bias = weights.bias.unflatten(-1, (length, -1)) + self.future  # (L, 1, L, H)
        logits = torch.baddbmm(bias.flatten(2), tokens.transpose(0, 1), weights.weight)
        logits = logits.unflatten(-1, (length, -1))  # (queries, N, keys, H)
        return logits.permute(1, 2, 0, 3).flatten(2)

    def of_nodes(self, tokens: Tensor, depth: Tensor, weights: PositionWeights) -> Tensor:
        """The logits of single tokens, each at a place of its own in its segment.

        Args:
            tokens: (B, N, d).
            depth: The places, (N,).
            weights: From `absorb`.

        Returns:
            (B N, keys L, H).
        """
        length = len(self.age)
        later = torch.arange(length) > depth[:, None]  # (N, L)
        bias = weights.bias[depth].unflatten(-1, (length, -1))  # (N, 1, L, H)
        bias = bias.masked_fill(later[:, None, :, None], -torch.inf).flatten(2)
        logits = torch.baddbmm(bias, tokens.transpose(0, 1), weights.weight[depth])
        return logits.transpose(0, 1).unflatten(-1, (length, -1)).flatten(0, 1)

    def of_ring(self, weights: PositionWeights) -> list[PositionWeights]:
        """The weights for the newest token of a ring, for each place where the token may lie.

        Returns:
            For each place a weight (d, L H) and a bias by phase (L, L H): a row whose segment holds
            `phase` tokens before the newest one does not look back beyond these.
        """
        length = len(self.age)
        phase = torch.arange(length, device=self.age.device)
        hidden = (self.age[:, None] > phase[:, None])[..., None]  # (places, phases, keys, 1)
        bias = weights.bias.unflatten(-1, (length, -1)).masked_fill(hidden, -torch.inf)
        return list(map(PositionWeights, weights.weight, bias.flatten(2)))

    @staticmethod
    def of_newest(token: Tensor, phase: Tensor, weights: PositionWeights) -> Tensor:
        """The logits of the newest token (B, d) of a ring, by its row's phase (B,): (B, L H)."""
        return torch.addmm(weights.bias.index_select(0, phase), token, weights.weight)
