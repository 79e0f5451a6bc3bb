"""The operations of a layer on rows, with the weights of one layer or of several at once.

Weights are plain tensors and rows come in one axis: a step of a rollout is so short that calling
modules, or changing a shape, would cost as much as computing. A matrix of one layer is (in, out)
and a vector (k,). Those of n layers are (n, in, out) and (n, 1, k), see `stack`; the rows then
stand layer by layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Norm(NamedTuple):
    """The weights of a layer normalisation: scale and shift, each a vector."""

    scale: Tensor
    shift: Tensor


class ResidualNorms(NamedTuple):
    """Where a block is normalised: before it or, residual included, after it. None: not there."""

    before: Norm | None
    after: Norm | None


class FeedForward(NamedTuple):
    """The weights of linear, ReLU, linear: two matrices, and the bias of the first."""

    into: Tensor
    bias: Tensor
    out: Tensor


def stack(parts: Sequence[Any]) -> Any:
    """The weights of n layers, nested as those of one: see the head of this file."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        joined = torch.stack(list(parts))
        return joined if first.dim() == 2 else joined[:, None]
    return type(first)(*map(stack, zip(*parts, strict=True)))


def take(x: Tensor, index: Tensor) -> Tensor:
    """The rows of x (R, *row) at places (...): (..., *row).

    The gradient of `x[index]` would take several times longer.
    """
    return x.index_select(0, index.flatten()).view(*index.shape, *x.shape[1:])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Maps rows (R, in) to (R, out)."""
    if weight.dim() == 2:
        return torch.addmm(bias, x, weight)
    return torch.baddbmm(bias, _by_layer(x, weight), weight).flatten(0, 1)


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Maps rows (R, in) to (R, out) without a bias."""
    if weight.dim() == 2:
        return x @ weight
    return torch.bmm(_by_layer(x, weight), weight).flatten(0, 1)


def add_product(residual: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Adds to rows (R, out) what a matrix makes of rows (R, in)."""
    if weight.dim() == 2:
        return torch.addmm(residual, x, weight)
    return torch.baddbmm(_by_layer(residual, weight), _by_layer(x, weight), weight).flatten(0, 1)


def norm(x: Tensor, weights: Norm | None) -> Tensor:
    """Normalises rows (R, d); returns them as they are where no norm stands."""
    if weights is None:
        return x
    scale, shift = weights
    if scale.dim() == 1:
        return torch.layer_norm(x, scale.shape, scale, shift)
    x = torch.layer_norm(x, x.shape[-1:])
    return torch.addcmul(shift, _by_layer(x, scale), scale).flatten(0, 1)


def add_feed_forward(x: Tensor, weights: FeedForward, residual: ResidualNorms) -> Tensor:
    """Applies a feed-forward network to rows (R, d), with the residual around it."""
    hidden = linear(norm(x, residual.before), weights.into, weights.bias).relu_()
    return norm(add_product(x, hidden, weights.out), residual.after)


def _by_layer(x: Tensor, weight: Tensor) -> Tensor:
    """Rows that stand layer by layer, (n R, d), with an axis of layers, (n, R, d)."""
    return x.view(len(weight), -1, x.shape[-1])
