"""The three attentions of a layer, each with its projections absorbed into fewer products.

A logit (W_q x)(W_k y) is x (W_q^T W_k) y: a product of two projections can be taken once per update
of the weights and be applied to one side only (weight absorption, DeepSeek-V2, arXiv:2405.04434,
section 2.1.2). Here that side is the memory slot, of which there are fewer than tokens: a token is
never projected for mem2tok and tok2mem, and a slot's part lasts until the slot is written again.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rllib_elmur.model.feed_forward import Affine


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

    def row(self, distance: Any, empty: Any) -> Any:
        """The table's rows of distances, and of empty slots; tensors, or arrays of the host."""
        row = distance.clip(-self.reach, self.reach) + self.reach
        return row + empty * (2 * self.reach + 1 - row)

    def forward(self, distance: Tensor, empty: Tensor) -> Tensor:
        """Looks up (..., T) integer distances, and whether the slot is empty: (..., H, T)."""
        row = self.row(distance, empty)
        return nn.functional.embedding(row, self.table).transpose(-1, -2).contiguous()


class SegmentAttention(nn.Module):
    """Causal self-attention inside a segment, position by relative distance only.

    Transformer-XL (Dai et al. 2019, section 3.3) with a learned key per distance: the logit of
    query i and key j is (q_i + u) k_j + (q_i + v) r_{i-j}.

    Args:
        d_model: Width d.
        n_heads: Number of heads H.
        segment_length: Tokens L of a segment.
    """

    def __init__(self, d_model: int, n_heads: int, segment_length: int):
        super().__init__()
        self.n_heads = n_heads
        head = d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.content_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # u
        self.position_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # v
        self.distance_keys = nn.Parameter(0.02 * torch.randn(n_heads, segment_length, head))  # r

    def absorb(self) -> Affine:
        """The map from a token to q + u, k, v and its logits (q + v) r, (3 d + H L, d)."""
        (query, key, value), bias = self.qkv.weight.chunk(3), self.qkv.bias
        bias_q, bias_kv = bias.split([len(query), 2 * len(query)])
        scale = self.content_bias.shape[-1] ** -0.5
        r = self.distance_keys * scale
        by_head = query.unflatten(0, (self.n_heads, -1))  # (H, d/H, d)
        position = (r @ by_head).flatten(0, 1)  # (H L, d)
        v = bias_q.unflatten(0, (self.n_heads, -1)) + self.position_bias.squeeze(1)
        return Affine(
            torch.cat([scale * query, key, value, position]),
            torch.cat(
                [
                    scale * (bias_q + self.content_bias.flatten()),
                    bias_kv,
                    (r @ v[..., None]).flatten(),
                ]
            ),
        )


def split_token(qkv: Tensor, n_heads: int, d: int) -> tuple[Tensor, Tensor]:
    """What `SegmentAttention.absorb` makes of tokens, (N, T, 3 d + H L), in its parts.

    Returns:
        Query, key and value, (N, T, 3, H, d/H), and position logits by distance, (N, T, H, L); all
        logits are scaled.
    """
    qkv, position = qkv.split([3 * d, qkv.shape[-1] - 3 * d], dim=-1)
    heads = (*qkv.shape[:2], 3, n_heads, d // n_heads)
    return qkv.view(heads), position.view(*heads[:2], n_heads, -1)


def self_attention(query: Tensor, key: Tensor, value: Tensor, position: Tensor) -> Tensor:
    """Tokens attend to those at or before them, by head.

    Args:
        query: (N H, Q, d/H).
        key: (N H, L, d/H).
        value: (N H, L, d/H).
        position: Position logits, (N H, L, Q); minus infinity at a later key.

    Returns:
        (N H, Q, d/H).
    """
    # A softmax over a last axis of few entries is slow: keys come first.
    share = torch.baddbmm(position, key, query.mT).softmax(dim=1)
    return torch.bmm(share.mT, value)


class CrossAttention(nn.Module):
    """The parameters of an attention between the token track and the memory track.

    Args:
        d_model: Width d.
        n_heads: Number of heads H.
    """

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def _by_head(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """By head: query (H, d/H, d + 1), key and value (H, d/H, d), value's bias, out (H, d, d/H).

        The query's last column is its bias; both are scaled. A bias of the keys adds the same to
        all logits of a query and has no effect.
        """
        heads, scale = (self.n_heads, -1), (self.query.in_features // self.n_heads) ** -0.5
        query = torch.cat([self.query.weight, self.query.bias[:, None]], dim=1) * scale
        key, value = self.key_value.weight.chunk(2)
        return (
            query.unflatten(0, heads),
            key.unflatten(0, heads),
            value.unflatten(0, heads),
            self.key_value.bias.chunk(2)[1].unflatten(0, heads)[..., None],
            self.out.weight.unflatten(1, heads).movedim(1, 0),
        )


class Mem2Tok(CrossAttention):
    """Tokens attend to the slots (equation 2)."""

    def absorb(self) -> Affine:
        """The map from a slot to what tokens see of it, (H (2 d + 1), d).

        Per head: the vector and the constant of its logits, and what it adds to a token.
        """
        query, key, value, value_bias, out = self._by_head()
        d = self.query.in_features
        logit = query.mT @ key  # (H, d + 1, d)
        mixed = out @ value  # (H, d, d)
        # The shares of a head add up to 1: the output's bias may travel with the slots.
        bias = (out @ value_bias).squeeze(-1) + self.out.bias / self.n_heads  # (H, d)
        return Affine(
            torch.cat([logit, mixed], dim=1).flatten(0, 1),
            nn.functional.pad(bias, (d + 1, 0)).flatten(),
        )


def read_slots(x: Tensor, views: Tensor, bias: Tensor) -> Tensor:
    """Tokens (B, T, d) attend to views of slots (B, M, H, 2 d + 1); bias (B, M, H, T)."""
    d = x.shape[-1]
    logit, constant, mixed = views.flatten(1, 2).split([d, 1, d], dim=-1)  # (B, M H, ...)
    logits = torch.baddbmm(bias.flatten(1, 2) + constant, logit, x.mT)  # (B, M H, T)
    share = logits.view_as(bias).softmax(dim=1).flatten(1, 2)
    return torch.bmm(share.mT, mixed)


class Tok2Mem(CrossAttention):
    """A slot attends to the tokens of a segment (equation 4)."""

    def absorb(self) -> tuple[Affine, Affine]:
        """The maps from a slot to its queries, (H d, d), and from mixed tokens to it, (d, H d)."""
        query, key, value, value_bias, out = self._by_head()
        logit = key.mT @ query  # (H, d, d + 1)
        mixed = (out @ value).movedim(0, 1).flatten(1)  # (d, H d)
        return (
            Affine(logit[..., :-1].flatten(0, 1), logit[..., -1].flatten()),
            Affine(mixed, (out @ value_bias).sum(0).squeeze(-1) + self.out.bias),
        )


def mix_tokens(query: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """A slot's queries (B, H, d) attend to tokens (B, L, d), (B, H, d); bias (B, H, L)."""
    return torch.bmm(torch.baddbmm(bias, query, x.mT).softmax(dim=-1), x)
