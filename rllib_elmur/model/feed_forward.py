"""The feed-forward network, the two residual forms around a block, and the maps they are made of.

The equations of a layer run on plain records of tensors, not on modules: a step of a rollout is so
short that calling modules, or changing a shape, would cost as much as computing; so rows come in
one axis. A record of several layers (`stack`) runs them at once, on rows that stand layer by layer.
What a block adds to its residual has no bias: the shift of the norm before it serves.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn


class Affine(NamedTuple):
    """An affine map.

    Attributes:
        weight: (inputs, outputs).
        bias: (outputs,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (R, inputs) to (R, outputs)."""
        return torch.addmm(self.bias, x, self.weight)

    @staticmethod
    def of(linear: nn.Linear) -> "Affine":
        """The map of a module."""
        return Affine(linear.weight.T, linear.bias)

    @staticmethod
    def stack(maps: Sequence["Affine"]) -> "StackedAffine":
        """The maps of n layers."""
        weight, bias = (torch.stack(parts) for parts in zip(*maps, strict=True))
        return StackedAffine(weight, bias[:, None])


class StackedAffine(NamedTuple):
    """Affine maps of n layers: weight (n, inputs, outputs), bias (n, 1, outputs)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (n R, inputs), layer by layer, to (n R, outputs)."""
        x = x.view(len(self.weight), -1, x.shape[-1])
        return torch.baddbmm(self.bias, x, self.weight).flatten(0, 1)


class Linear(NamedTuple):
    """A linear map: weight (inputs, outputs)."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (..., inputs) to (..., outputs)."""
        return x @ self.weight

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Adds the map of x (R, inputs) to a residual (R, outputs)."""
        return torch.addmm(residual, x, self.weight)

    @staticmethod
    def stack(maps: Sequence["Linear"]) -> "StackedLinear":
        """The maps of n layers."""
        return StackedLinear(torch.stack([weight for (weight,) in maps]))


class StackedLinear(NamedTuple):
    """Linear maps of n layers: weight (n, inputs, outputs)."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (n R, inputs), layer by layer, to (n R, outputs)."""
        return torch.bmm(x.view(len(self.weight), -1, x.shape[-1]), self.weight).flatten(0, 1)

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Adds the map of x (n R, inputs) to a residual (n R, outputs)."""
        by_layer = (t.view(len(self.weight), -1, t.shape[-1]) for t in (residual, x))
        return torch.baddbmm(*by_layer, self.weight).flatten(0, 1)


class Norm(NamedTuple):
    """Layer normalisation with its scale and shift, each (d,)."""

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Normalises (..., d)."""
        return torch.layer_norm(x, self.scale.shape, self.scale, self.shift)

    @staticmethod
    def of(norm: nn.LayerNorm) -> "Norm":
        """The function of a module."""
        return Norm(norm.weight, norm.bias)

    @staticmethod
    def stack(norms: Sequence["Norm"]) -> "StackedNorm":
        """The normalisations of n layers."""
        scale, shift = (torch.stack(parts)[:, None] for parts in zip(*norms, strict=True))
        return StackedNorm(scale, shift)


class StackedNorm(NamedTuple):
    """Layer normalisations of n layers: scale and shift, each (n, 1, d)."""

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Normalises (n R, d), layer by layer."""
        x = torch.layer_norm(x, x.shape[-1:]).view(len(self.scale), -1, x.shape[-1])
        return torch.addcmul(self.shift, x, self.scale).flatten(0, 1)


class FeedForward(nn.Sequential):
    """The parameters of Linear, ReLU, Linear; the same at every position.

    Args:
        d_model: Width d of input and output.
        d_ff: Width of the hidden layer.
    """

    def __init__(self, d_model: int, d_ff: int):
        into, out = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model, bias=False)
        super().__init__(into, nn.ReLU(), out)

    def maps(self) -> tuple[Affine, Linear]:
        """What `feed_forward` takes."""
        into, _, out = cast("tuple[nn.Linear, nn.ReLU, nn.Linear]", tuple(self))
        return Affine.of(into), Linear(out.weight.T)


def feed_forward(
    x: Tensor, residual: Tensor, into: Affine | StackedAffine, out: Linear | StackedLinear
) -> Tensor:
    """Adds what the network makes of x to a residual, both (R, d)."""
    return out.onto(residual, into(x).relu_())


Block = Callable[[Tensor, Tensor], Tensor]  # of x and a residual to which it adds


class PostNorm(nn.Module):
    """x <- Norm(x + block(x)): the paper's form, and the default."""

    def __init__(self, d_model: int):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)

    @staticmethod
    def around(x: Tensor, block: Block, norm: Norm | StackedNorm) -> Tensor:
        """Applies `block` to x (R, d) with the residual around it."""
        return norm(block(x, x))


class PreNorm(nn.Module):
    """x <- x + block(Norm(x)): the form of `norm_first`."""

    def __init__(self, d_model: int):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)

    @staticmethod
    def around(x: Tensor, block: Block, norm: Norm | StackedNorm) -> Tensor:
        """Applies `block` to the normalised x (R, d) with the residual around it."""
        return block(norm(x), x)
