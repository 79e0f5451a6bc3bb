"""Parts of a layer's memory: the LRU rule (paper, section 3.3), rounding, gradients."""

from typing import Any

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig

# The logit of an empty slot that is not read. Those of filled ones are not far from 0, and beside
# them exp(-60) is nothing in single precision. exp(-100) would be a denormal number, which
# processors multiply many times slower.
UNREAD = -60.0


def lru_order(anchors: Tensor) -> Tensor:
    """Slots in the order in which they will be written, (..., M) indices.

    Empty slots (anchor -1) come first, by index, then the least recently used. Since every
    write makes its slot the most recent, write k of a sequence goes to slot k mod M of this order.
    """
    return anchors.argsort(dim=-1, stable=True)


def build_rounding(config: ELMURConfig) -> nn.Module:
    """The rounding of what is written (`memory_levels`); none leaves real values."""
    if config.memory_levels is None:
        return nn.Identity()
    return Rounding(config.memory_levels, config.memory_commitment)


class Rounding(nn.Module):
    """Clamps to a grid of integers and rounds to it, with a straight-through gradient.

    A map of real vectors iterated for thousands of segments drifts to a fixed point; rounding
    corrects small disturbances at each write, as in digital storage. A disturbance is small if it
    does not carry a value over a boundary of the grid: the commitment loss of vector quantisation
    (van den Oord et al. 2017, arXiv:1711.00937, equation 3) pulls values away from the boundaries.

    Args:
        levels: Number of values. Odd: the integers around 0 (3: -1, 0, 1). Even: the odd integers
            (2: -1, 1).
        commitment: Weight beta of that loss, the mean squared distance of a call's values from what
            they are rounded to. It is in the gradient alone, whatever the loss is.
    """

    def __init__(self, levels: int, commitment: float = 0.0):
        super().__init__()
        self.spacing = 1 if levels % 2 else 2
        self.high = (levels - 1) * self.spacing / 2
        self.commitment = commitment

    def forward(self, x: Tensor) -> Tensor:
        """Rounds (..., d)."""
        # Without gradient the detour of an autograd function would take longer than rounding.
        return _StraightThrough.apply(x, self) if torch.is_grad_enabled() else self.nearest(x)

    def nearest(self, x: Tensor) -> Tensor:
        """The grid's nearest values."""
        clamped = x.clamp(-self.high, self.high)
        if self.spacing == 1:
            return clamped.round_()
        # An odd integer is the middle between two even ones.
        return clamped.div_(2).floor_().mul_(2).add_(1)


class _StraightThrough(torch.autograd.Function):
    """Clamping and rounding with the gradient of the clamping, and of the commitment loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounding: Rounding) -> Tensor:
        ctx.rounding = rounding
        ctx.save_for_backward(x)
        return rounding.nearest(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,), rounding = ctx.saved_tensors, ctx.rounding
        gradient = gradients[0] * (x.abs() <= rounding.high)
        if rounding.commitment:
            pull = 2 * rounding.commitment / x.numel()
            gradient = gradient.add(x - rounding.nearest(x), alpha=pull)
        return gradient, None


class Detach(nn.Module):
    """Cuts the gradient between segments (`detach_memory`)."""

    def forward(self, memory: Tensor) -> Tensor:
        """Returns the memory without its history."""
        return memory.detach()


def build_table(config: ELMURConfig, n: int) -> nn.Module:
    """What makes a learned table of n rows, (n, H): with `rotate_distances` out of coordinates."""
    return RotatedTable(n, config.n_heads) if config.rotate_distances else Table(n, config.n_heads)


class Table(nn.Module):
    """A table whose entries are parameters.

    Args:
        n: The number of rows.
        n_heads: Of columns.
    """

    def __init__(self, n: int, n_heads: int):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(n, n_heads))

    def forward(self) -> Tensor:
        """The table, (n, H)."""
        return self.rows


class RotatedTable(nn.Module):
    """A table whose columns are an orthogonal matrix times learned coordinates.

    Adam moves each parameter by about the learning rate in a step. If the rows of a table are the
    parameters, a single logit moves no faster. Here each row is a sum of n coordinates, which move
    it together, by up to sqrt(n) of that; what they do without agreement is no more than before.
    The matrix is the discrete cosine transform, its rows with the signs of the Rudin-Shapiro
    sequence: simple patterns (one distance, all of them, one half) then take many coordinates.

    Args:
        n: The number of rows. The matrix has n * n numbers.
        n_heads: Of columns.
    """

    matrix: Tensor

    def __init__(self, n: int, n_heads: int):
        super().__init__()
        row = torch.arange(n, dtype=torch.float64)
        cosines = torch.cos(torch.pi / n * (row[:, None] + 0.5) * row) * (2 / n) ** 0.5
        cosines[:, 0] /= 2**0.5
        signs = torch.tensor([(-1.0) ** (i & i >> 1).bit_count() for i in range(n)])
        matrix = (signs[:, None] * cosines).to(torch.get_default_dtype())
        self.register_buffer("matrix", matrix, persistent=False)
        self.coordinates = nn.Parameter(torch.zeros(n, n_heads))

    def forward(self) -> Tensor:
        """The table, (n, H)."""
        return self.matrix @ self.coordinates
