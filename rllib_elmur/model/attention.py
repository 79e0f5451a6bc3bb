"""The three attentions of a layer, each with its projections absorbed into fewer products.

A logit (W_q x)(W_k y) is x (W_q^T W_k) y: a product of two projections can be taken once per update
of the weights and be applied to one side only (weight absorption, DeepSeek-V2, arXiv:2405.04434,
section 2.1.2). Between tokens and slots that side is the slot, of which there are fewer: its part
lasts until it is written again. Inside a segment it is the query: tokens are their own keys and
values, and nothing but themselves has to be kept of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_elmur.model.feed_forward import Affine, Linear


class DistanceBias(nn.Module):
    """The table E of the paper (eq. 7): one learned logit per head and signed, clamped distance.

    Empty slots have no distance; they get a row of their own.

    Args:
        n_heads: Number of heads H.
        reach: Distances are clamped to [-reach, reach].
    """

    def __init__(self, n_heads: int, reach: int):
        super().__init__()
        self.reach = reach
        self.table = nn.Parameter(torch.zeros(2 * reach + 2, n_heads))

    def row(self, distance: Tensor, empty: Tensor) -> Tensor:
        """The table's rows of integer distances (...), and of empty slots."""
        row = distance.clamp(-self.reach, self.reach).add_(self.reach)
        return row.masked_fill_(empty, 2 * self.reach + 1)

    def forward(self, distance: Tensor, empty: Tensor) -> Tensor:
        """Looks up (...) integer distances, and whether the slot is empty: (..., H)."""
        return nn.functional.embedding(self.row(distance, empty), self.table)


class Position(NamedTuple):
    """Position logits of a segment's queries at all keys, by place in the segment.

    The key at place k is (q - k) mod L steps before the query at place q: so it is in a segment up
    to q, and in a ring of the last L tokens, of which q is the newest.

    Attributes:
        weight: (places of the query L, d, places of the key L * heads H).
        bias: (L, 1, L H).
    """

    weight: Tensor
    bias: Tensor


class SegmentAttention(nn.Module):
    """Causal self-attention inside a segment, position by relative distance only.

    Transformer-XL (Dai et al. 2019, section 3.3) with a learned key per distance: the logit of
    query i and key j is (q_i + u) k_j + (q_i + v) r_{i-j}.

    Args:
        d_model: Width d.
        n_heads: Number of heads H.
        segment_length: Tokens L of a segment.
    """

    age: Tensor  # how long before query q key k came, (L, L)

    def __init__(self, d_model: int, n_heads: int, segment_length: int):
        super().__init__()
        self.n_heads = n_heads
        head = d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # u
        self.position_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # v
        self.distance_keys = nn.Parameter(0.02 * torch.randn(n_heads, segment_length, head))  # r
        place = torch.arange(segment_length)
        self.register_buffer("age", (place[:, None] - place) % segment_length, persistent=False)

    def absorb(self) -> tuple[Affine, Position, Linear]:
        """The maps from a token to its queries, H d, and position logits, and from H d to it."""
        heads = self.n_heads, -1
        query, key, value = (w.unflatten(0, heads) for w in self.qkv.weight.chunk(3))
        scale = self.content_bias.shape[-1] ** -0.5
        key, r = key * scale, self.distance_keys * scale
        out = self.out.weight.unflatten(1, heads).movedim(1, 0)  # (H, d, d/H)
        position = (r @ query)[:, self.age].permute(1, 3, 2, 0)  # (L, d, L, H)
        bias = (r @ self.position_bias.mT)[:, self.age].permute(1, 3, 2, 0)  # (L, 1, L, H)
        return (
            Affine((query.mT @ key).movedim(0, 1).flatten(1), (self.content_bias @ key).flatten()),
            Position(position.flatten(2), bias.flatten(2)),
            Linear((out @ value).mT.flatten(0, 1)),
        )


def mix_tokens(query: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """Queries attend to tokens of one segment.

    Args:
        query: (B, Q, d).
        x: (B, L, d).
        bias: Added to the logits, (B, L, Q).

    Returns:
        (B, Q, d).
    """
    # A softmax over a last axis of few entries is slow: keys come first.
    share = torch.baddbmm(bias, x, query.mT).softmax(dim=1)
    return torch.bmm(share.mT, x)


class CrossAttention(nn.Module):
    """The parameters of an attention between the token track and the memory track.

    Args:
        d_model: Width d.
        n_heads: Number of heads H.
    """

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def _by_head(self) -> tuple[Tensor, Tensor]:
        """By head: scaled W_q^T W_k and W_v^T W_out^T, each (H, d, d)."""
        heads = self.n_heads, -1
        query, scale = self.query.weight.unflatten(0, heads), self.query.in_features
        key, value = (w.unflatten(0, heads) for w in self.key_value.weight.chunk(2))
        out = self.out.weight.T.unflatten(0, heads)  # (H, d/H, d)
        return query.mT @ key * (scale // self.n_heads) ** -0.5, value.mT @ out


class Mem2Tok(CrossAttention):
    """Tokens attend to the slots (equation 2)."""

    def absorb(self) -> Linear:
        """The map from a slot to what tokens see of it, (d, H 2 d).

        Per head: the vector of its logits, and what it adds to a token.
        """
        logit, mixed = self._by_head()
        return Linear(torch.stack([logit.mT, mixed], dim=1).permute(2, 0, 1, 3).flatten(1))


class SlotViews(NamedTuple):
    """What tokens see of their row's slots.

    Attributes:
        logit: The vectors of the slots' logits, (B, M H, d).
        mixed: What the slots add to a token, (B, M H, d).
    """

    logit: Tensor
    mixed: Tensor

    @classmethod
    def of(cls, views: Tensor) -> "SlotViews":
        """Both parts of what `Mem2Tok` makes of slots, (B, M, H, 2 d)."""
        return cls(*views.flatten(1, 2).chunk(2, dim=-1))


def read_slots(x: Tensor, residual: Tensor, views: SlotViews, bias: Tensor) -> Tensor:
    """Adds to a residual what tokens, both (B T, d), get from their row's slots.

    Args:
        x: Tokens.
        residual: What is added to.
        views: What they see of the slots.
        bias: Added to the logits, (B, M, H, T).
    """
    tokens = len(bias), -1, x.shape[-1]
    logits = torch.baddbmm(bias.flatten(1, 2), views.logit, x.view(tokens).mT)  # (B, M H, T)
    share = logits.view(bias.shape).softmax(dim=1).view(logits.shape)
    return torch.baddbmm(residual.view(tokens), share.mT, views.mixed).view(x.shape)


class Tok2Mem(CrossAttention):
    """A slot attends to the tokens of a segment (equation 4)."""

    def absorb(self) -> tuple[Linear, Linear]:
        """The maps from a slot to its queries, (d, H d), and from mixed tokens to it, (H d, d)."""
        logit, mixed = self._by_head()
        return Linear(logit.movedim(0, 1).flatten(1)), Linear(mixed.flatten(0, 1))
