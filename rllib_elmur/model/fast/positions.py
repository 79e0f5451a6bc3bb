"""The position logits of self-attention, (q + v) r of equation 1, for every way of running tokens.

The key r depends on the distance of query and key alone. So for a query at a known place among its
keys the logits at all of them are one product with a matrix of that place.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.equations import SelfAttention


class PositionWeights(NamedTuple):
    """From a query to its logits: an affine map.

    As absorbed, by head and distance: weight (H, W, d), bias (H, W, 1). Arranged for queries at P
    places among K keys: weight (P, d, K H), bias (P, 1, K H), minus infinity where a key is not
    seen from a place.
    """

    weight: Tensor
    bias: Tensor


class Positions(nn.Module):
    """Absorbs the position keys, arranges them, applies them.

    Args:
        config: Its C tokens of a chunk see W - 1 tokens before it (none without a window).
    """

    distance: Tensor  # of the queries of a chunk and what they may see, (C, W - 1 + C)
    age: Tensor  # how long before query q key k came in a ring of W - 1 + L tokens

    def __init__(self, config: ELMURConfig):
        super().__init__()
        self.reach = config.attention_window or config.segment_length
        place = torch.arange(config.n_before + config.chunk_length)
        distance = place[config.n_before :, None] - place
        self.register_buffer("distance", distance, persistent=False)
        place = torch.arange(config.n_before + config.segment_length)
        self.register_buffer("age", (place[:, None] - place) % len(place), persistent=False)

    def absorb(self, attention: SelfAttention, query: Tensor, scale: float) -> PositionWeights:
        """Multiplies the position keys into the queries' weights.

        Args:
            attention: The parameters.
            query: Its W_q by head, (H, d/H, d).
            scale: Of the logits.
        """
        r = attention.distance_keys * scale  # (H, W, d/H)
        return PositionWeights(torch.bmm(r, query), torch.bmm(r, attention.position_bias.mT))

    def for_chunks(self, weights: PositionWeights) -> PositionWeights:
        """Arranges weights for the C tokens of a chunk and the W - 1 + C that they may see."""
        hidden = (self.distance < 0) | (self.distance >= self.reach)
        return self._arranged(weights, self.distance, hidden)

    def for_ring(self, weights: PositionWeights) -> list[PositionWeights]:
        """Arranges weights for the newest token of a ring, for each place where it may lie.

        Returns:
            For each place a weight (d, K H) and a bias by how many tokens a row looks back,
            (W, K H).
        """
        weight, bias = self._arranged(weights, self.age, self.age < 0)
        back = torch.arange(self.reach, device=self.age.device)
        hidden = (self.age[:, None] > back[:, None])[..., None]  # (places, W, keys, 1)
        bias = bias.unflatten(-1, (len(self.age), -1)).masked_fill(hidden, -torch.inf)
        return list(map(PositionWeights, weight, bias.flatten(2)))

    def _arranged(
        self, weights: PositionWeights, distance: Tensor, hidden: Tensor
    ) -> PositionWeights:
        distance = distance.clamp(0, self.reach - 1)
        weight, bias = (part[:, distance].permute(1, 3, 2, 0) for part in weights)  # (P, d, K, H)
        bias = bias.masked_fill(hidden[:, None, :, None], -torch.inf)
        return PositionWeights(weight.flatten(2), bias.flatten(2))

    def of_chunks(self, tokens: Tensor, weights: PositionWeights) -> Tensor:
        """The logits of chunks of tokens (N, C, d): (N, keys K, queries C * H)."""
        weight, bias = self.for_chunks(weights)
        logits = torch.baddbmm(bias, tokens.transpose(0, 1), weight)
        logits = logits.unflatten(-1, (self.distance.shape[1], -1))  # (queries, N, keys, H)
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
        weight, bias = (part[depth] for part in self.for_chunks(weights))
        logits = torch.baddbmm(bias, tokens.transpose(0, 1), weight)  # (N, B, L H)
        return logits.transpose(0, 1).unflatten(-1, (self.distance.shape[1], -1)).flatten(0, 1)

    @staticmethod
    def of_newest(token: Tensor, back: Tensor, weights: PositionWeights) -> Tensor:
        """The logits of the newest token (B, d) of a ring, by how far its row looks back (B,)."""
        return torch.addmm(weights.bias.index_select(0, back), token, weights.weight)
