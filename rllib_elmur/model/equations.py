"""ELMUR's equations (arXiv:2510.07151, section 3) in plain PyTorch: one layer, one segment.

This file holds all parameters of a layer and all that a layer computes. `model/fast` computes the
same from the same parameters in less time, for training and for acting; a test holds its outputs,
states and gradients to this file. The numbers (1) to (7) are those of docs/model.md.
"""

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.memory import Detach, build_rounding, lru_order


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
        residual = PreNorm if config.norm_first else PostNorm
        self.segment_length, self.lru_blend = length, config.lru_blend
        # Token track.
        self.self_attention = SegmentAttention(d, heads, length)
        self.mem2tok = CrossAttention(d, heads)
        self.ffn = feed_forward(d, config.d_ff)
        self.attend_residual, self.read_residual = residual(d), residual(d)
        self.ffn_residual = residual(d)
        # Memory track.
        self.tok2mem = CrossAttention(d, heads)
        self.memory_ffn = feed_forward(d, config.d_ff)
        self.write_residual, self.memory_ffn_residual = residual(d), residual(d)
        self.memory_norm = nn.LayerNorm(d) if config.norm_first else nn.Identity()
        self.rounding = build_rounding(config)
        self.between_segments = Detach() if config.detach_memory else nn.Identity()
        # Both tracks; M slots, written in turn every L steps, reach back M * L steps.
        self.distance_bias = DistanceBias(heads, config.memory_slots * length)
        initial = config.memory_init_std * torch.randn(config.memory_slots, d)
        self.initial_memory = nn.Parameter(initial, requires_grad=config.learned_memory)

    def forward(
        self, x: Tensor, begin: Tensor, memory: Tensor, anchors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs a segment; a complete one is written to memory.

        Args:
            x: The segment's first T tokens, T <= L, (B, T, d).
            begin: Time step of the first one, (B,) int64.
            memory: The slots as they were when the segment began, (B, M, d).
            anchors: Their anchors, (B, M) int64.

        Returns:
            Outputs (B, T, d), and memory and anchors behind the segment.
        """
        position = begin[:, None] + torch.arange(x.shape[1], device=x.device)  # (B, T)
        memory = torch.where(anchors[..., None] < 0, self.initial_memory, memory)
        h = self.attend(x)
        h = self.read(h, position, memory, anchors)
        if x.shape[1] == self.segment_length:
            memory, anchors = self.write(h, position, memory, anchors)
        return h, memory, anchors

    def attend(self, x: Tensor) -> Tensor:
        """Tokens (B, T, d) attend to the tokens before them in the same segment."""
        return self.attend_residual(x, self.self_attention)  # (1)

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

    def memory_parameters(self) -> list[nn.Parameter]:
        """The parameters of the memory track alone."""
        write = self.tok2mem, self.write_residual
        parts = *write, self.memory_ffn, self.memory_ffn_residual, self.memory_norm
        return [self.initial_memory, *(p for part in parts for p in part.parameters())]


class SegmentAttention(nn.Module):
    """Causal self-attention inside a segment, position by relative distance only.

    Transformer-XL (Dai et al. 2019, section 3.3) with a learned key r per head and distance: the
    logit of query i and key j is (q_i + u) k_j + (q_i + v) r_{i-j}.

    Args:
        d_model: Width d.
        n_heads: Number of heads H.
        segment_length: Tokens L of a segment.
    """

    def __init__(self, d_model: int, n_heads: int, segment_length: int):
        super().__init__()
        self.n_heads = n_heads
        head = d_model // n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # u
        self.position_bias = nn.Parameter(torch.zeros(n_heads, 1, head))  # v
        self.distance_keys = nn.Parameter(0.02 * torch.randn(n_heads, segment_length, head))  # r

    def forward(self, x: Tensor) -> Tensor:
        """Mixes the first T tokens of a segment, (B, T, d)."""
        q, k, v = (by_head(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1))
        token = torch.arange(x.shape[1], device=x.device)
        distance = token[:, None] - token  # of query and key, (T, T)
        r = self.distance_keys[:, distance.clamp(min=0)]  # (H, T, T, d/H)
        content = (q + self.content_bias) @ k.mT  # (B, H, T, T)
        place = (r @ (q + self.position_bias)[..., None]).squeeze(-1)  # (B, H, T, T)
        logits = (content + place) / q.shape[-1] ** 0.5
        weights = logits.masked_fill(distance < 0, -torch.inf).softmax(dim=-1)
        return self.out(side_by_side(weights @ v))


class CrossAttention(nn.Module):
    """Attention from one track to the other.

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

    An empty slot has no distance; it gets the last row of the table.

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


def feed_forward(d_model: int, d_ff: int) -> nn.Sequential:
    """Linear, ReLU, linear; what it adds to a residual needs no bias, the norm before has one."""
    return nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model, bias=False))


class PostNorm(nn.Module):
    """Norm(x + block(x)): the paper's residual form, and the default."""

    def __init__(self, d_model: int):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, block) -> Tensor:
        """Applies `block` to x (..., d)."""
        return self.norm(x + block(x))


class PreNorm(PostNorm):
    """x + block(Norm(x)): the form of `norm_first`."""

    def forward(self, x: Tensor, block) -> Tensor:
        """Applies `block` to the normalised x (..., d)."""
        return x + block(self.norm(x))
