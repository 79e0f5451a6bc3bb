"""One layer of ELMUR: the token track (attend, read) and the memory track (write)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.attention import (
    DistanceBias,
    Mem2Tok,
    Position,
    SegmentAttention,
    SlotViews,
    Tok2Mem,
    mix_tokens,
    read_slots,
)
from rllib_elmur.model.feed_forward import (
    Affine,
    FeedForward,
    Linear,
    Norm,
    PostNorm,
    PreNorm,
    feed_forward,
)
from rllib_elmur.model.memory import Blend, Detach, Rounding


class TokenMaps(NamedTuple):
    """What the token track derives from its parameters, once per update of these."""

    query: Affine
    position: Position
    out: Linear
    attend_norm: Norm
    read_norm: Norm
    ffn: tuple[Affine, Linear]
    ffn_norm: Norm


class MemoryMaps(NamedTuple):
    """The same for the memory track; `stack` joins those of several layers."""

    query: Any
    slot: Any
    write_norm: Any
    into: Any
    out: Any
    ffn_norm: Any
    memory_norm: Any
    view: Any

    @classmethod
    def stack(cls, layers: Sequence["MemoryMaps"]) -> "MemoryMaps":
        """The maps of n layers, for rows that stand layer by layer."""
        return cls(*(type(parts[0]).stack(parts) for parts in zip(*layers, strict=True)))


class SegmentInputs(NamedTuple):
    """What attention inside a segment takes of N rows, T tokens each (`mix_tokens`).

    Attributes:
        query: The tokens' queries, (N, T H, d).
        context: The segment's tokens, (N, L, d).
        position: Position logits, (N, L, T H), minus infinity where a token comes later.
    """

    query: Tensor
    context: Tensor
    position: Tensor


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
        self.n_heads = heads
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
        self.memory_norm = nn.LayerNorm(d) if config.norm_first else None
        self.around = residual.around
        self.blend = Blend(config.lru_blend)
        levels, commitment = config.memory_levels, config.memory_commitment
        self.rounding = nn.Identity() if levels is None else Rounding(levels, commitment)
        self.between_segments = Detach() if config.detach_memory else nn.Identity()
        # Both tracks; a ring of M slots of L tokens reaches back M * L steps.
        self.distance_bias = DistanceBias(heads, config.memory_slots * config.segment_length)
        initial = config.memory_init_std * torch.randn(config.memory_slots, d)
        self.initial_memory = nn.Parameter(initial, requires_grad=config.learned_memory)

    def absorb(self) -> tuple[TokenMaps, MemoryMaps]:
        """Derives from the parameters what the methods below take."""
        query, slot = self.tok2mem.absorb()
        return TokenMaps(
            *self.self_attention.absorb(),
            Norm.of(self.attend_residual.norm),
            Norm.of(self.read_residual.norm),
            self.ffn.maps(),
            Norm.of(self.ffn_residual.norm),
        ), MemoryMaps(
            query,
            slot,
            Norm.of(self.write_residual.norm),
            *self.memory_ffn.maps(),
            Norm.of(self.memory_ffn_residual.norm),
            Unchanged() if self.memory_norm is None else Norm.of(self.memory_norm),
            self.mem2tok.absorb(),
        )

    def memory_parameters(self) -> list[nn.Parameter]:
        """The parameters of the memory track alone."""
        parts = (
            self.tok2mem,
            self.write_residual,
            self.memory_ffn,
            self.memory_ffn_residual,
            self.memory_norm or nn.Identity(),
        )
        return [self.initial_memory, *(p for part in parts for p in part.parameters())]

    def attend(
        self, x: Tensor, maps: TokenMaps, gather: Callable[[Tensor, TokenMaps], SegmentInputs]
    ) -> Tensor:
        """Equation 1: tokens attend to their own segment.

        Args:
            x: T tokens of each of N segments, (N T, d).
            maps: From `absorb`.
            gather: Brings tokens together with what is known of their segments' other tokens.
        """

        def block(tokens: Tensor, residual: Tensor) -> Tensor:
            mixed = mix_tokens(*gather(tokens, maps))  # (N, T H, d)
            return maps.out.onto(residual, mixed.view(len(tokens), -1))

        return self.around(x, block, maps.attend_norm)

    def read(self, h: Tensor, views: SlotViews, bias: Tensor, maps: TokenMaps) -> Tensor:
        """Equations 2 and 3 (mem2tok): tokens of one segment read every slot.

        Args:
            h: T tokens of each of B rows after self-attention, (B T, d).
            views: What they see of their row's M slots.
            bias: Of token position less slot anchor, (B, M, H, T).
            maps: From `absorb`.
        """
        h = self.around(h, lambda x, r: read_slots(x, r, views, bias), maps.read_norm)
        return self.around(h, lambda x, r: feed_forward(x, r, *maps.ffn), maps.ffn_norm)

    def view(self, slots: Tensor, maps: MemoryMaps) -> Tensor:
        """What `read` needs of slots (..., d): (..., H, 2 d), see `SlotViews`."""
        return maps.view(slots).unflatten(-1, (self.n_heads, -1))

    def write(
        self, h: Tensor, slot: Tensor, share: Tensor, bias: Tensor, maps: MemoryMaps
    ) -> Tensor:
        """Equations 4 to 7 (tok2mem): a finished segment writes the least recently used slot.

        Args:
            h: The segment's tokens as `read` left them, (B, L, d).
            slot: Content of the slot to be written, (B, d).
            share: Of new content, (B, 1), see `Blend.share`.
            bias: Of slot anchor less token position, (B, L, H).
            maps: From `absorb`.

        Returns:
            The slot's new content, (B, d).
        """
        return self.rounding(self.blended(h, slot, share, bias, maps))

    def blended(
        self, h: Tensor, slot: Tensor, share: Tensor, bias: Tensor, maps: MemoryMaps
    ) -> Tensor:
        """Equations 4 to 6: what `write` rounds; the same arguments."""

        def block(m: Tensor, residual: Tensor) -> Tensor:
            query = maps.query(m).view(len(m), self.n_heads, -1)  # (B, H, d)
            return maps.slot.onto(residual, mix_tokens(query, h, bias).flatten(1))

        u = self.around(slot, block, maps.write_norm)
        u = self.around(u, lambda m, r: feed_forward(m, r, maps.into, maps.out), maps.ffn_norm)
        return self.blend(maps.memory_norm(u), slot, share)


class Unchanged(NamedTuple):
    """The norm of a memory that is normalised already."""

    def __call__(self, x: Tensor) -> Tensor:
        """Returns x."""
        return x

    @staticmethod
    def stack(parts: Sequence["Unchanged"]) -> "Unchanged":
        """The same for several layers."""
        return parts[0]
