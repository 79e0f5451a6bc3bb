"""One layer of ELMUR: the token track (attend, read) and the memory track (write)."""

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.attention import CrossAttention, DistanceBias, Past, SegmentAttention
from rllib_elmur.model.feed_forward import FeedForward, PostNorm, PreNorm
from rllib_elmur.model.memory import Blend, Detach, Rounding


class ELMURLayer(nn.Module):
    """One layer with its own memory (ELMUR, arXiv:2510.07151, section 3).

    Both schedules of `ELMUR` are built from these three methods. The order of one segment is
    attend, read, write; only read and write depend on the segment before.

    Args:
        config: The options.
    """

    def __init__(self, config: ELMURConfig):
        super().__init__()
        d, heads = config.d_model, config.n_heads
        residual = PreNorm if config.norm_first else PostNorm
        # Token track.
        self.self_attention = SegmentAttention(d, heads, config.segment_length)
        self.mem2tok = CrossAttention(d, heads)
        self.ffn = FeedForward(d, config.d_ff)
        self.attend_residual = residual(d)
        self.read_residual = residual(d)
        self.ffn_residual = residual(d)
        # Memory track.
        self.tok2mem = CrossAttention(d, heads)
        self.memory_ffn = FeedForward(d, config.d_ff)
        self.write_residual = residual(d)
        self.memory_ffn_residual = residual(d)
        self.memory_norm = nn.LayerNorm(d) if config.norm_first else nn.Identity()
        self.blend = Blend(config.lru_blend)
        levels = config.memory_levels
        self.rounding = nn.Identity() if levels is None else Rounding(levels)
        self.between_segments = Detach() if config.detach_memory else nn.Identity()
        # Both tracks; a ring of M slots of L tokens reaches back M * L steps.
        self.distance_bias = DistanceBias(heads, config.memory_slots * config.segment_length)
        initial = config.memory_init_std * torch.randn(config.memory_slots, d)
        self.initial_memory = nn.Parameter(initial, requires_grad=config.learned_memory)

    def attend(self, x: Tensor, past: Past | None, distance: Tensor) -> Tensor:
        """Equation 1: tokens (..., T, d) attend to their own segment.

        Args:
            x: Tokens, (..., T, d).
            past: The open segment that x continues; None if x is a whole segment.
            distance: Query position less key position, (..., T, L).
        """

        def block(tokens: Tensor) -> Tensor:
            query, key, value = self.self_attention.project(tokens)
            if past is not None:
                key, value = past.extend(key, value)
            return self.self_attention(query, key, value, distance)

        return self.attend_residual(x, block)

    def read(self, h: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """Equations 2 and 3 (mem2tok): tokens of one segment read every slot.

        Args:
            h: Tokens after self-attention, (B, T, d).
            memory: Keys and values of the slots, each (B, H, M, d/H).
            bias: Of token position less slot anchor, (B, H, T, M).
        """
        h = self.read_residual(h, lambda q: self.mem2tok(q, *memory, bias))
        return self.ffn_residual(h, self.ffn)

    def write(self, h: Tensor, slot: Tensor, empty: Tensor, bias: Tensor) -> Tensor:
        """Equations 4 to 7 (tok2mem): a finished segment writes the least recently used slot.

        Args:
            h: The segment's tokens as `read` left them, (B, L, d).
            slot: Content of the slot to be written, (B, d).
            empty: Whether it was never written, (B, 1).
            bias: Of slot anchor less token position, (B, H, 1, L).

        Returns:
            The slot's new content, (B, d).
        """
        key, value = self.tok2mem.project(h)
        u = self.write_residual(slot[:, None], lambda m: self.tok2mem(m, key, value, bias))
        u = self.memory_ffn_residual(u, self.memory_ffn)
        u = self.memory_norm(u)[:, 0]
        return self.rounding(self.blend(u, slot, empty))
