"""ELMUR's equations (arXiv:2510.07151, section 3) in plain PyTorch: one layer, one segment.

All that a layer computes, and its parameters (the table of distances: model/memory.py).
`model/fast` does the same in less time; a test holds its outputs, states and gradients to this.
Numbers (1) to (7) are those of docs/model.md.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.memory import UNREAD, Detach, build_rounding, build_table, lru_order


class ELMURLayer(nn.Module):
    """A layer with its own memory: M memory embeddings (slots), each with an anchor.

    The anchor of a slot is the time step at which the slot was last written, -1 if never. A slot
    that was never written is read as `initial_memory`, whatever `memory` holds for it.

    Args:
        config: The options.
    """

    def __init__(self, config: ELMURConfig):
        super().__init__()
        d, heads, length = config.d_model, config.n_heads, config.segment_length
        self.segment_length, self.lru_blend = length, config.lru_blend
        self.write_before_read = config.write_before_read
        residual = partial(Residual, d, config.norm_first)
        # Token track.
        self.self_attention = SelfAttention(d, heads, config.attention_window or length)
        self.mem2tok = CrossAttention(d, heads)
        self.ffn = feed_forward(d, config.d_ff)
        self.attend_residual, self.read_residual = residual(), residual()
        self.ffn_residual = residual()
        # Memory track.
        self.tok2mem = CrossAttention(d, heads)
        self.memory_ffn = feed_forward(d, config.d_ff)
        self.write_residual, self.memory_ffn_residual = residual(), residual()
        self.memory_norm = nn.LayerNorm(d) if config.norm_first else nn.Identity()
        self.rounding = build_rounding(config)
        self.between_segments = Detach() if config.detach_memory else nn.Identity()
        # Both tracks; M slots, written in turn every L steps, reach back M * L steps.
        self.distance_bias = DistanceBias(config)
        initial = config.memory_init_std * torch.randn(config.memory_slots, d)
        self.initial_memory = nn.Parameter(initial, requires_grad=config.learned_memory)

    def forward(
        self, x: Tensor, begin: Tensor, memory: Tensor, anchors: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Runs a segment; a complete one is written to memory.

        Args:
            x: The segment's first T tokens, T <= L, (B, T, d).
            begin: Time step of the first one, (B,) int64.
            memory: The slots as they were when the segment began, (B, M, d).
            anchors: Their anchors, (B, M) int64.
            context: The last W - 1 tokens before the segment, as attention sees them,
                (B, W - 1, d); (B, 0, d) without a window.

        Returns:
            Outputs (B, T, d), and memory, anchors and context behind a complete segment.
        """
        position = begin[:, None] + torch.arange(x.shape[1], device=x.device)  # (B, T)
        memory = torch.where(anchors[..., None] < 0, self.initial_memory, memory)
        seen = torch.cat([context, self.attend_residual.before(x)], dim=1)  # (B, W - 1 + T, d)
        h = self.attend(x, seen, begin)
        y = self.read(h, position, memory, anchors)
        if x.shape[1] == self.segment_length:
            tokens = h if self.write_before_read else y
            memory, anchors = self.write(tokens, position, memory, anchors)
            context = seen[:, seen.shape[1] - context.shape[1] :]
        return y, memory, anchors, context

    def attend(self, x: Tensor, seen: Tensor, begin: Tensor) -> Tensor:
        """Tokens (B, T, d) attend to the tokens before them: of their segment, or the last W."""
        n_missing = (seen.shape[1] - x.shape[1] - begin).clamp(min=0)  # before the episode, (B,)
        return self.attend_residual(x, lambda q: self.self_attention(q, seen, n_missing))  # (1)

    def read(self, h: Tensor, position: Tensor, memory: Tensor, anchors: Tensor) -> Tensor:
        """mem2tok: tokens (B, T, d) at time steps `position` (B, T) read every slot (B, M, d)."""
        distance = position[:, :, None] - anchors[:, None]  # (B, T, M)
        bias = self.distance_bias(distance, anchors[:, None] < 0)
        h = self.read_residual(h, lambda query: self.mem2tok(query, memory, bias))  # (2)
        return self.ffn_residual(h, self.ffn)  # (3)

    def write(
        self, h: Tensor, position: Tensor, memory: Tensor, anchors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tok2mem: a complete segment (B, L, d) is written to the least recently used slot."""
        j = lru_order(anchors)[:, :1]  # that slot, (B, 1)
        at_j = j[..., None].expand(-1, -1, memory.shape[-1])
        m, p = memory.gather(1, at_j), anchors.gather(1, j)  # (B, 1, d), (B, 1)
        distance = p[..., None] - position[:, None]  # (B, 1, L)
        bias = self.distance_bias(distance, p[..., None] < 0)
        u = self.write_residual(m, lambda query: self.tok2mem(query, h, bias))  # (4)
        u = self.memory_norm(self.memory_ffn_residual(u, self.memory_ffn))  # (5)
        share = m.new_full(p.shape, self.lru_blend).masked_fill(p < 0, 1.0)[..., None]
        m = torch.lerp(m, u, share)  # (6): m + share (u - m); an empty slot is replaced
        m = self.between_segments(self.rounding(m))  # (7)
        return memory.scatter(1, at_j, m), anchors.scatter(1, j, position[:, -1:])


class SelfAttention(nn.Module):
    """Causal self-attention, position by relative distance only.

    Transformer-XL (Dai et al. 2019, section 3.3) with a learned key r per head and distance: the
    logit of query i and key j is (q_i + u) k_j + (q_i + v) r_{i-j}.

    Args:
        d_model: Width d.
        n_heads: Number of heads H.
        reach: How many tokens W a query sees, itself included.
    """

    def __init__(self, d_model: int, n_heads: int, reach: int):
        super().__init__()
        self.n_heads, self.reach = n_heads, reach
        head = d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # u
        self.position_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # v
        self.distance_keys = nn.Parameter(0.02 * torch.randn(n_heads, reach, head))  # r

    def forward(self, x: Tensor, seen: Tensor, n_missing: Tensor) -> Tensor:
        """Mixes tokens for each of the last T of them.

        Args:
            x: These T tokens, (B, T, d).
            seen: All K tokens, the same T at the end, (B, K, d).
            n_missing: How many of the first are none, (B,).
        """
        w_q, w_k, w_v = self.qkv.weight.chunk(3)
        parts = x @ w_q.T, seen @ w_k.T, seen @ w_v.T
        q, k, v = (by_head(part, self.n_heads) for part in parts)  # (B, H, T or K, d/H)
        token = torch.arange(seen.shape[1], device=x.device)  # (K,)
        distance = token[-x.shape[1] :, None] - token  # of query and key, (T, K)
        r = self.distance_keys[:, distance.clamp(0, self.reach - 1)]  # (H, T, K, d/H)
        content = (q + self.content_bias) @ k.mT  # (B, H, T, K)
        place = (r @ (q + self.position_bias)[..., None]).squeeze(-1)  # (B, H, T, K)
        hidden = (distance < 0) | (distance >= self.reach) | (token < n_missing[:, None, None])
        logits = ((content + place) / q.shape[-1] ** 0.5).masked_fill(hidden[:, None], -torch.inf)
        return self.out(side_by_side(logits.softmax(dim=-1) @ v))


class CrossAttention(nn.Module):
    """Attention of queries of one track to the other, width d and H heads."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        """Mixes y (B, K, d) for each of the queries x (B, Q, d); `bias` is (B, Q, K, H)."""
        q = by_head(self.query(x), self.n_heads)  # (B, H, Q, d/H)
        k, v = (by_head(part, self.n_heads) for part in self.key_value(y).chunk(2, dim=-1))
        logits = q @ k.mT / q.shape[-1] ** 0.5 + bias.movedim(-1, 1)  # (B, H, Q, K)
        return self.out(side_by_side(logits.softmax(dim=-1) @ v))


def by_head(x: Tensor, n_heads: int) -> Tensor:
    """Splits (B, T, d) into heads, (B, H, T, d/H)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def side_by_side(x: Tensor) -> Tensor:
    """Joins the heads of (B, H, T, d/H), (B, T, d)."""
    return x.transpose(1, 2).flatten(-2)


class DistanceBias(nn.Module):
    """The table E (paper, equation 7): a learned logit per head and signed, clamped distance.

    An empty slot has none: its logit is the last row, learned only with `read_empty_slots`.
    """

    def __init__(self, config: ELMURConfig):
        super().__init__()
        self.reach, self.scale = config.memory_slots * config.segment_length, config.distance_scale
        self.n_fixed = 1 - config.read_empty_slots
        self.learned = build_table(config, 2 * self.reach + 2 - self.n_fixed)

    def table(self) -> Tensor:
        """All logits, (2 M L + 2, H)."""
        return nn.functional.pad(self.scale * self.learned(), (0, 0, 0, self.n_fixed), value=UNREAD)

    def row(self, distance: Tensor, empty: Tensor) -> Tensor:
        """The table's rows of integer distances (...), and of empty slots."""
        row = distance.clamp(-self.reach, self.reach).add_(self.reach)
        return row.masked_fill_(empty, 2 * self.reach + 1)

    def forward(self, distance: Tensor, empty: Tensor) -> Tensor:
        """Looks up (...) integer distances, and whether the slot is empty: (..., H)."""
        return nn.functional.embedding(self.row(distance, empty), self.table())


def feed_forward(d_model: int, d_ff: int) -> nn.Sequential:
    """Linear, ReLU, linear; what it adds to a residual needs no bias, the norm before has one."""
    return nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model, bias=False))


class Residual(nn.Module):
    """After(x + block(Before(x))); the norm is After in the paper, Before with `norm_first`."""

    def __init__(self, d_model: int, norm_first: bool):
        super().__init__()
        norm, none = nn.LayerNorm(d_model), nn.Identity()
        self.before, self.after = (norm, none) if norm_first else (none, norm)

    def forward(self, x: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
        """Applies `block` to x (..., d)."""
        return self.after(x + block(self.before(x)))
