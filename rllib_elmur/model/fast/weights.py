"""A layer's parameters absorbed into fewer matrices, once per update of the parameters.

A logit (W_q x) (W_k y) is x (W_q^T W_k) y: the product of two projections can be taken once and be
applied to one side only (weight absorption, DeepSeek-V2, arXiv:2405.04434, section 2.1.2).
Between tokens and slots that side is the slot, of which there are fewer: its keys and values last
until it is written again. Inside a segment it is the query: the tokens themselves are the keys and
values, and nothing else has to be kept of them.
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from rllib_elmur.model import equations
from rllib_elmur.model.equations import (
    CrossAttention,
    ELMURLayer,
    SelfAttention,
)
from rllib_elmur.model.fast.ops import FeedForward, Norm, ResidualNorms
from rllib_elmur.model.fast.positions import Positions, PositionWeights


class AttendWeights(NamedTuple):
    """Equation 1: from a token to its queries (d, H d), their bias, and from H d back to d."""

    query: Tensor
    query_bias: Tensor
    out: Tensor
    position: PositionWeights
    residual: ResidualNorms


class ReadWeights(NamedTuple):
    """Equations 2 and 3: from a token to its queries, (d, H d), and from mixed slots to it."""

    query: Tensor
    out: Tensor
    residual: ResidualNorms
    ffn: FeedForward
    ffn_residual: ResidualNorms


class WriteWeights(NamedTuple):
    """Equations 4 and 5: from a slot to its queries (d, H d), and from mixed tokens to the slot."""

    query: Tensor
    out: Tensor
    residual: ResidualNorms
    ffn: FeedForward
    ffn_residual: ResidualNorms
    memory_norm: Norm | None
    slot: Tensor  # from a slot to what tokens read of it: its keys and values, (d, H 2 d)


class LayerWeights(NamedTuple):
    """All that a layer's equations take."""

    attend: AttendWeights
    read: ReadWeights
    write: WriteWeights


def absorb(layer: ELMURLayer, positions: Positions) -> LayerWeights:
    """Derives from a layer's parameters what `model/fast` computes with."""
    mem2tok, tok2mem = _products(layer.mem2tok), _products(layer.tok2mem)
    return LayerWeights(
        AttendWeights(
            *_attend_projections(layer.self_attention, positions), _residual(layer.attend_residual)
        ),
        ReadWeights(
            *_cross_projections(*mem2tok),
            _residual(layer.read_residual),
            _feed_forward(layer.ffn),
            _residual(layer.ffn_residual),
        ),
        WriteWeights(
            *_cross_projections(*tok2mem),
            _residual(layer.write_residual),
            _feed_forward(layer.memory_ffn),
            _residual(layer.memory_ffn_residual),
            _norm(layer.memory_norm),
            _slot_projection(*mem2tok),
        ),
    )


def _attend_projections(
    attention: SelfAttention, positions: Positions
) -> tuple[Tensor, Tensor, Tensor, PositionWeights]:
    heads = attention.n_heads, -1
    q, k, v = (w.unflatten(0, heads) for w in attention.qkv.weight.chunk(3))  # (H, d/H, d)
    scale = attention.content_bias.shape[-1] ** -0.5
    k = k * scale
    out = attention.out.weight.unflatten(1, heads).movedim(1, 0)  # (H, d, d/H)
    return (
        torch.bmm(q.mT, k).movedim(0, 1).flatten(1),
        (attention.content_bias @ k).flatten(),
        torch.bmm(out, v).mT.flatten(0, 1),
        positions.absorb(attention, q, scale),
    )


def _slot_projection(logit: Tensor, mixed: Tensor) -> Tensor:
    """From a slot to its keys and values as tokens read them, by head: (d, H 2 d)."""
    return torch.stack([logit.mT, mixed], dim=1).permute(2, 0, 1, 3).flatten(1)


def _cross_projections(logit: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """From one track to its queries, (d, H d), and from what they mix to that track, (H d, d)."""
    return logit.movedim(0, 1).flatten(1), mixed.flatten(0, 1)


def _products(attention: CrossAttention) -> tuple[Tensor, Tensor]:
    """By head: scaled W_q^T W_k and W_v^T W_out^T, each (H, d, d)."""
    heads, d = (attention.n_heads, -1), attention.query.in_features
    q = attention.query.weight.unflatten(0, heads)
    k, v = (w.unflatten(0, heads) for w in attention.key_value.weight.chunk(2))
    out = attention.out.weight.T.unflatten(0, heads)  # (H, d/H, d)
    return torch.bmm(q.mT, k) * (d // attention.n_heads) ** -0.5, torch.bmm(v.mT, out)


def _residual(module: equations.Residual) -> ResidualNorms:
    return ResidualNorms(_norm(module.before), _norm(module.after))


def _norm(module: nn.Module) -> Norm | None:
    return Norm(module.weight, module.bias) if isinstance(module, nn.LayerNorm) else None


def _feed_forward(module: nn.Sequential) -> FeedForward:
    into, _, out = cast("tuple[nn.Linear, nn.ReLU, nn.Linear]", tuple(module))
    return FeedForward(into.weight.T, into.bias, out.weight.T)


class Absorbed:
    """The absorbed weights of a model's layers, derived again whenever a parameter has changed.

    Args:
        layers: The layers.
        positions: What absorbs their position keys.
    """

    def __init__(self, layers: Sequence[ELMURLayer], positions: Positions):
        self._layers, self._positions = layers, positions
        self._kept: tuple[tuple[int, ...] | None, list[LayerWeights]] = None, []
        self._replaced = 0
        self.watch()

    def watch(self) -> None:
        """Takes note of the parameters; to be called when they are replaced by other tensors."""
        # Walking through all submodules would be too slow for every step.
        self._parameters = tuple(p for layer in self._layers for p in layer.parameters())
        self._replaced += 1

    def version(self) -> tuple[int, ...]:
        """A stamp of the parameters: how often they were replaced, and PyTorch's count of writes.

        PyTorch does not count what a fused optimizer or a write to `.data` does to a parameter.
        """
        return self._replaced, *map(_writes, self._parameters)

    def layers(self) -> list[LayerWeights]:
        """The weights of each layer; without gradient they are kept while parameters stay."""
        if torch.is_grad_enabled():
            self._kept = None, []  # what is trained is about to change
            return self._derive()
        version = self.version()
        if self._kept[0] != version:
            # In either mode it may be used in the other: some of it are views of the parameters.
            with torch.inference_mode(False), torch.no_grad():
                self._kept = version, self._derive()
        return self._kept[1]

    def _derive(self) -> list[LayerWeights]:
        return [absorb(layer, self._positions) for layer in self._layers]

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets: it derives its own weights."""
        return {**self.__dict__, "_kept": (None, [])}


_writes = operator.attrgetter("_version")
