"""Bounds of what a network does to all inputs at once that differ by some noise.

An `Interval` goes through the code of `model/fast` in a tensor's place: PyTorch hands each function
that meets one to `__torch_function__`, which computes bounds of its results. They are affine forms
(de Figueiredo and Stolfi 2004; for networks Singh et al. 2018, DeepZ): how a value depends on each
noise is kept to first order, and what is left is bounded. A bound may be too wide, never too
narrow, but for the rounding of floating-point numbers, for which those who use it leave room.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_BOUNDS: dict[Callable[..., Any], Callable[..., Any]] = {}


def bounds(*functions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a function the one that computes bounds in the place of PyTorch's `functions`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _BOUNDS.update(dict.fromkeys(functions, function))
        return function

    return register


class Interval:
    """Affine forms: center + sum of slope k times noise k + rest, |noise| <= 1, |rest| <= radius.

    Args:
        center: What a tensor would hold.
        slopes: One for each noise, of the center's shape.
        radius: Of the rest, of the same shape.
    """

    def __init__(self, center: Tensor, slopes: Sequence[Tensor], radius: Tensor):
        self.center, self.slopes, self.radius = center, list(slopes), radius

    @classmethod
    def around(cls, center: Tensor, spread: Tensor) -> "Interval":
        """Inputs (E, *space), each entry of which may lie so far away, (*space), by its own noise.

        An entry that may not has no noise.
        """
        own = torch.diag(spread.flatten())[spread.flatten() > 0]
        slopes = own.view(-1, *spread.shape).to(center.dtype)
        return cls(center, [slope.expand_as(center) for slope in slopes], torch.zeros_like(center))

    def by_place(self, place: Tensor, n_places: int) -> "Interval":
        """The same of inputs (1, N, ...) each of which has noises of its place's, (N,)."""
        own = [(place == p).view(-1, *(1 for _ in self.shape[2:])) for p in range(n_places)]
        slopes = [slope * mask for mask in own for slope in self.slopes]
        return Interval(self.center, slopes, self.radius)

    @property
    def deviation(self) -> Tensor:
        """How far from the center a value may lie."""
        return self.radius + sum(slope.abs() for slope in self.slopes)

    @property
    def low(self) -> Tensor:
        """The least values."""
        return self.center - self.deviation

    @property
    def high(self) -> Tensor:
        """The largest values."""
        return self.center + self.deviation

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        """Bounds of what one of PyTorch's functions makes of intervals."""
        if function not in _BOUNDS:
            raise NotImplementedError(f"there are no bounds of {function}")
        return _BOUNDS[function](*arguments, **(options or {}))

    def map(
        self,
        function: Callable[[Tensor], Tensor],
        of_radius: Callable[[Tensor], Tensor] | None = None,
    ) -> "Interval":
        """What a linear function makes of it, which is another one for radii."""
        of_radius = of_radius or function
        slopes = [function(slope) for slope in self.slopes]
        return Interval(function(self.center), slopes, of_radius(self.radius))

    def within(self, low: float, high: float) -> "Interval":
        """The same of values that are known to lie between two numbers, where that says more."""
        vague = (self.low < low) & (self.high > high)
        center = self.center.masked_fill(vague, (low + high) / 2)
        slopes = [slope.masked_fill(vague, 0.0) for slope in self.slopes]
        return Interval(center, slopes, self.radius.masked_fill(vague, (high - low) / 2))

    # What `model/fast` asks of a tensor.

    @property
    def shape(self) -> torch.Size:
        """As of a tensor."""
        return self.center.shape

    @property
    def dtype(self) -> torch.dtype:
        """As of a tensor."""
        return self.center.dtype

    @property
    def mT(self) -> "Interval":
        """As of a tensor."""
        return self.map(lambda x: x.mT)

    def __add__(self, shift: Tensor) -> "Interval":
        return Interval(self.center + shift, self.slopes, self.radius)

    def __len__(self) -> int:
        return len(self.center)

    def __getitem__(self, index: Any) -> "Interval":
        return self.map(lambda x: x[index])

    def new_full(self, *arguments: Any) -> Tensor:
        """As of a tensor."""
        return self.center.new_full(*arguments)

    def relu_(self) -> "Interval":
        """Bounds of the positive part: where the sign is open, by the line between both ends."""
        low, high = self.low, self.high
        slope = (high.relu() / (high - low)).where((low < 0) & (high > 0), (low >= 0).to(low))
        shift = (slope * -low / 2).where((low < 0) & (high > 0), torch.zeros_like(low))
        y = self.map(lambda x: x * slope)
        return Interval(y.center + shift, y.slopes, y.radius + shift)

    def softmax(self, dim: int) -> "Interval":
        """Bounds of weights: their derivative at the center, and the most of the second one."""
        weights = self.center.softmax(dim)

        def derivative(x: Tensor) -> Tensor:
            return weights * (x - (weights * x).sum(dim, keepdim=True))

        # A logit of minus infinity stays there.
        far = self.deviation.masked_fill(self.center == -torch.inf, 0.0)
        farthest = far.amax(dim, keepdim=True)
        # Of p_i it is p_i ((x_i - mean of x)^2 - variance of x); what p_i is at most there.
        odds = self.center.log_softmax(dim) - torch.log1p(-weights)
        most = (odds + 2 * farthest).sigmoid()
        second = most * (far + farthest).square() / 2
        radius = weights * (self.radius + (weights * self.radius).sum(dim, keepdim=True))
        slopes = [derivative(slope) for slope in self.slopes]
        return Interval(weights, slopes, radius + second).within(0.0, 1.0)


def _moves(name: str) -> Callable[..., Interval]:
    def moved(self: Interval, *arguments: Any) -> Interval:
        return self.map(lambda x: getattr(x, name)(*arguments))

    return moved


for _name in ("view", "flatten", "unflatten", "transpose", "expand", "to"):
    setattr(Interval, _name, _moves(_name))


@bounds(torch.matmul, torch.bmm)
def _product(x: Any, y: Any) -> Interval:
    if not isinstance(y, Interval):
        return x.map(lambda part: part @ y, lambda part: part @ y.abs())
    if not isinstance(x, Interval):
        return y.map(lambda part: x @ part, lambda part: x.abs() @ part)
    slopes = [
        of_x @ y.center + x.center @ of_y for of_x, of_y in zip(x.slopes, y.slopes, strict=True)
    ]
    radius = x.center.abs() @ y.radius + x.radius @ y.center.abs() + x.deviation @ y.deviation
    return Interval(x.center @ y.center, slopes, radius)


@bounds(torch.addmm, torch.baddbmm)
def _add_product(added: Any, x: Any, y: Any) -> Interval:
    product = _product(x, y)
    if not isinstance(added, Interval):
        return Interval(added + product.center, product.slopes, product.radius)
    slopes = [a + b for a, b in zip(added.slopes, product.slopes, strict=True)]
    return Interval(added.center + product.center, slopes, added.radius + product.radius)


@bounds(torch.nn.functional.linear)
def _linear(x: Interval, weight: Tensor, bias: Tensor | None = None) -> Interval:
    product = _product(x, weight.T)
    if bias is None:
        return product
    return Interval(product.center + bias, product.slopes, product.radius)


@bounds(torch.layer_norm, torch.nn.functional.layer_norm)
def _layer_norm(
    x: Interval,
    shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Interval:
    """Over the last axis, z / s with z = x - mean and s its deviation: as of weights."""
    size = x.shape[-1]
    z = x.map(
        lambda part: part - part.mean(-1, keepdim=True),
        lambda part: part * (1 - 2 / size) + part.mean(-1, keepdim=True),
    )
    s = (z.center.square().mean(-1, keepdim=True) + eps).sqrt()
    y = z.center / s

    def derivative(part: Tensor) -> Tensor:
        return (part - y * (y * part).mean(-1, keepdim=True)) / s

    far = z.deviation
    # s changes by no more than this; taking the mean away makes no vector longer.
    m = x.deviation.square().mean(-1, keepdim=True).sqrt()
    least = (s - m).clamp(min=eps**0.5)
    # Half of the second derivative; |grad 1/s| <= m / s^2, and that of it is within 2 m^2 / s^3.
    second = far * m / least.square() + (z.center.abs() + far) * m.square() / least**3
    radius = (z.radius + y.abs() * (y.abs() * z.radius).mean(-1, keepdim=True)) / s + second
    # Of d values whose squares have a mean of 1 none is larger than this.
    normed = Interval(y, list(map(derivative, z.slopes)), radius).within(-(size**0.5), size**0.5)
    if weight is None:
        return normed
    scaled = normed.map(lambda part: part * weight, lambda part: part * weight.abs())
    center = scaled.center if bias is None else scaled.center + bias
    return Interval(center, scaled.slopes, scaled.radius)


@bounds(torch.lerp)
def _lerp(x: Tensor, y: Interval, share: Tensor) -> Interval:
    part = y.map(lambda values: values * share)
    return Interval(torch.lerp(x, y.center, share), part.slopes, part.radius)


@bounds(torch.stack)
def _stack(parts: Sequence[Interval], dim: int = 0) -> Interval:
    return Interval(
        torch.stack([part.center for part in parts], dim),
        [
            torch.stack(list(slopes), dim)
            for slopes in zip(*(part.slopes for part in parts), strict=True)
        ],
        torch.stack([part.radius for part in parts], dim),
    )
