"""One layer of ELMUR: the token track (attend, read) and the memory track (write)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.attention import Affine, DistanceBias, Mem2Tok, SegmentAttention, Tok2Mem
from rllib_elmur.model.feed_forward import FeedForward, PostNorm, PreNorm
from rllib_elmur.model.memory import Blend, Detach, Rounding


class Absorbed(NamedTuple):
    """What a layer's attentions derive from their parameters, once per update of these."""

    attend: Affine
    view: Affine
    write: tuple[Affine, Affine]


class ELMURLayer(nn.Module):
    """One layer with its own memory (ELMUR, arXiv:2510.07151, section 3).

    Both schedules of `ELMUR` are built from these methods. The order of one segment is attend,
    read, write; only read and write depend on the segment before.

    Args:
        config: The options.
    """

    def __init__(self, config: ELMURConfig):
        super().__init__()
        d, heads = config.d_model, config.n_heads
        residual = PreNorm if config.norm_first else PostNorm
        # Token track.
        self.self_attention = SegmentAttention(d, heads, config.segment_length)
        self.mem2tok = Mem2Tok(d, heads)
        self.ffn = FeedForward(d, config.d_ff)
        self.attend_residual = residual(d)
        self.read_residual = residual(d)
        self.ffn_residual = residual(d)
        # Memory track.
        self.tok2mem = Tok2Mem(d, heads)
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

    def absorb(self) -> Absorbed:
        """Derives what the methods below need of the parameters."""
        return Absorbed(self.self_attention.absorb(), self.mem2tok.absorb(), self.tok2mem.absorb())

    def attend(
        self, x: Tensor, absorbed: Absorbed, gather: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    ) -> Tensor:
        """Equation 1: tokens (N, T, d) attend to their own segment.

        Args:
            x: Tokens, (N, T, d).
            absorbed: From `absorb`.
            gather: Brings what `SegmentAttention.project` makes of the tokens together with what is
                known of their segments' other tokens: the arguments of `SegmentAttention.forward`.
        """

        def block(tokens: Tensor) -> Tensor:
            projected = self.self_attention.project(tokens, absorbed.attend)
            return self.self_attention(*gather(*projected))

        return self.attend_residual(x, block)

    def view(self, slots: Tensor, absorbed: Absorbed) -> Tensor:
        """What `read` needs of slots (..., d): (..., H, 2 d + 1)."""
        return self.mem2tok.view(slots, absorbed.view)

    def read(self, h: Tensor, views: Tensor, bias: Tensor) -> Tensor:
        """Equations 2 and 3 (mem2tok): tokens of one segment read every slot.

        Args:
            h: Tokens after self-attention, (B, T, d).
            views: Of the slots, (B, M, H, 2 d + 1).
            bias: Of token position less slot anchor, (B, M, H, T).
        """
        h = self.read_residual(h, lambda q: self.mem2tok(q, views, bias))
        return self.ffn_residual(h, self.ffn)

    def write(
        self, h: Tensor, slot: Tensor, empty: Tensor, bias: Tensor, absorbed: Absorbed
    ) -> Tensor:
        """Equations 4 to 7 (tok2mem): a finished segment writes the least recently used slot.

        Args:
            h: The segment's tokens as `read` left them, (B, L, d).
            slot: Content of the slot to be written, (B, d).
            empty: Whether it was never written, (B, 1).
            bias: Of slot anchor less token position, (B, H, L).
            absorbed: From `absorb`.

        Returns:
            The slot's new content, (B, d).
        """
        u = self.write_residual(slot, lambda m: self.tok2mem(m, h, bias, absorbed.write))
        u = self.memory_ffn_residual(u, self.memory_ffn)
        u = self.memory_norm(u)
        return self.rounding(self.blend(u, slot, empty))
