"""One layer's equations on absorbed weights; the comments give their numbers in `equations.py`."""

from typing import NamedTuple

import torch
from torch import Tensor

from rllib_elmur.model.fast.ops import add_feed_forward, add_product, linear, multiply, norm
from rllib_elmur.model.fast.weights import AttendWeights, ReadWeights, WriteWeights


def mix_context(tokens: Tensor, context: Tensor, position: Tensor, w: AttendWeights) -> Tensor:
    """What tokens find in those of their segment, or of their window.

    Args:
        tokens: T tokens of each of N chunks as the attention sees them, (N T, d): `norm` by
            `w.residual.before`.
        context: The K tokens that those of each chunk may attend to, seen likewise, (N, K, d).
        position: Position logits, (N, K, T H); minus infinity where a token is not attended to.
        w: The weights.

    Returns:
        By head, (N T, H d).
    """
    query = linear(tokens, w.query, w.query_bias).view(len(context), -1, tokens.shape[-1])
    return mix_tokens(query, context, position).view(len(tokens), -1)


def attend(x: Tensor, mixed: Tensor, w: AttendWeights) -> Tensor:
    """Equation 1 for tokens (R, d) that have found `mixed` (R, H d) in their context."""
    return norm(add_product(x, mixed, w.out), w.residual.after)


class Slots(NamedTuple):
    """What tokens read of their row's slots: keys and values, each (B, M H, d)."""

    keys: Tensor
    values: Tensor

    @classmethod
    def of(cls, projected: Tensor) -> "Slots":
        """Both parts of what `project_slots` returns for M slots a row, (B, M, H, 2 d)."""
        return cls(*projected.flatten(1, 2).chunk(2, dim=-1))


def project_slots(slots: Tensor, w: WriteWeights) -> Tensor:
    """The keys and values of slots (..., d), by head: (..., H, 2 d)."""
    return multiply(slots, w.slot).unflatten(-1, (-1, 2 * slots.shape[-1]))


def read(h: Tensor, slots: Slots, bias: Tensor, w: ReadWeights) -> Tensor:
    """Equations 2 and 3 (mem2tok): tokens read every slot of their row, by keys and values.

    Args:
        h: T tokens of each of B rows, (B T, d).
        slots: Of the row.
        bias: Of token position less slot anchor, (B, M, H, T).
        w: The weights.
    """
    rows = len(bias), -1, h.shape[-1]
    tokens = norm(h, w.residual.before).view(rows)
    logits = torch.baddbmm(bias.flatten(1, 2), slots.keys, tokens.mT)  # (B, M H, T)
    weights = logits.view(bias.shape).softmax(dim=1).view(logits.shape)
    h = torch.baddbmm(h.view(rows), weights.mT, slots.values).view(h.shape)
    return add_feed_forward(norm(h, w.residual.after), w.ffn, w.ffn_residual)


def read_query(h: Tensor, w: ReadWeights) -> Tensor:
    """The queries of tokens (R, d) to slots as they are, without keys and values: (R, H d)."""
    return multiply(norm(h, w.residual.before), w.query)


def read_mixed(h: Tensor, mixed: Tensor, w: ReadWeights) -> Tensor:
    """Equations 2 and 3 for tokens (R, d) whose queries have mixed slots to (R, H d)."""
    h = norm(add_product(h, mixed, w.out), w.residual.after)
    return add_feed_forward(h, w.ffn, w.ffn_residual)


def write(h: Tensor, slot: Tensor, share: Tensor, bias: Tensor, w: WriteWeights) -> Tensor:
    """Equations 4 to 6 (tok2mem): a complete segment updates one slot, not yet rounded.

    Args:
        h: The segment's tokens, before or after they read (`write_before_read`), (B, L, d).
        slot: Content of the slot, (B, d).
        share: Of new content, (B, 1): see `blend_share`.
        bias: Of slot anchor less token position, (B, L, H).
        w: The weights.

    Returns:
        The slot's new content, (B, d), in the precision of `slot`.
    """
    if h.shape[1] == 1:  # every query finds the one token there is
        mixed = h.expand(-1, bias.shape[-1], -1)
    else:
        query = multiply(norm(slot, w.residual.before), w.query)
        mixed = mix_tokens(query.view(len(slot), -1, slot.shape[-1]), h, bias)
    u = norm(add_product(slot, mixed.flatten(1), w.out), w.residual.after)  # of (B, H d)
    u = norm(add_feed_forward(u, w.ffn, w.ffn_residual), w.memory_norm)
    return torch.lerp(slot, u.to(slot.dtype), share.to(slot.dtype))


def mix_tokens(query: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """Mixes tokens x (B, K, d) for queries (B, Q, d); `bias` of the logits is (B, K, Q)."""
    # A softmax over a last axis of few entries is slow: keys come first.
    weights = torch.baddbmm(bias, x, query.mT).softmax(dim=1)
    return torch.bmm(weights.mT, x)


def blend_share(empty: Tensor, lru_blend: float, like: Tensor) -> Tensor:
    """The share of new content in a write: 1 where the slot is `empty`, else lambda."""
    return like.new_full(empty.shape, lru_blend).masked_fill_(empty, 1.0)
