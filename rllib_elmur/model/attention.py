"""The one attention body, and the two places where ELMUR uses it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Scaled dot-product attention with additive logits.

    Args:
        query: (..., H, Q, d/H).
        key: (..., H, K, d/H).
        value: (..., H, K, d/H).
        bias: Added to the scaled logits, broadcastable to (..., H, Q, K).

    Returns:
        (..., Q, d), heads merged.
    """
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2) + bias
    mixed = logits.softmax(dim=-1) @ value  # (..., H, Q, d/H)
    return mixed.transpose(-2, -3).flatten(-2)


def split_heads(x: Tensor, n_heads: int, parts: int) -> tuple[Tensor, ...]:
    """(..., T, parts * d) -> `parts` tensors of (..., H, T, d/H), by one copy."""
    x = x.unflatten(-1, (parts, n_heads, -1)).movedim(-3, 0)  # (parts, ..., T, H, d/H)
    return x.transpose(-2, -3).contiguous().unbind(0)


class Past(NamedTuple):
    """Keys and values of an open segment, to which a token is added per step.

    Attributes:
        keys: (B, H, L, d/H).
        values: (B, H, L, d/H).
        phase: Place in the segment of each row's next token, (B,).
    """

    keys: Tensor
    values: Tensor
    phase: Tensor

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts a token's key and value, each (B, H, 1, d/H), into their place; returns all."""
        rows = torch.arange(len(self.phase), device=self.phase.device)
        self.keys[rows, :, self.phase] = key[:, :, 0]
        self.values[rows, :, self.phase] = value[:, :, 0]
        return self.keys, self.values


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

    def forward(self, distance: Tensor, empty: Tensor) -> Tensor:
        """Looks up (..., Q, K) integer distances, and whether the slot is empty: (..., H, Q, K)."""
        row = (distance.clamp(-self.reach, self.reach) + self.reach).masked_fill(
            empty, 2 * self.reach + 1
        )
        return nn.functional.embedding(row, self.table).movedim(-1, -3)


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

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (..., T, d) to query, key and value, each (..., H, T, d/H)."""
        query, key, value = split_heads(self.qkv(x), self.n_heads, 3)
        return query, key, value

    def forward(self, query: Tensor, key: Tensor, value: Tensor, distance: Tensor) -> Tensor:
        """Attends to the tokens at or before each query.

        Args:
            query: (..., H, Q, d/H).
            key: (..., H, L, d/H).
            value: (..., H, L, d/H).
            distance: Position of the query less that of the key, broadcastable to
                (..., H, Q, L); negative where the key lies in the future.

        Returns:
            (..., Q, d).
        """
        scale = query.shape[-1] ** -0.5
        by_distance = (query + self.position_bias) @ self.distance_keys.transpose(-1, -2) * scale
        index = distance.clamp(min=0).expand_as(by_distance)
        position = by_distance.gather(-1, index).masked_fill(distance < 0, float("-inf"))
        return self.out(attend(query + self.content_bias, key, value, position))


class CrossAttention(nn.Module):
    """Attention between the token track and the memory track (mem2tok and tok2mem).

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

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is attended to, (..., K, d), as keys and values, each (..., H, K, d/H)."""
        key, value = split_heads(self.key_value(x), self.n_heads, 2)
        return key, value

    def forward(self, x: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Lets (..., Q, d) attend to projected keys and values; bias (..., H, Q, K)."""
        (query,) = split_heads(self.query(x), self.n_heads, 1)
        return self.out(attend(query, key, value, bias))
