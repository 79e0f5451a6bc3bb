"""The feed-forward network and the two residual forms around a block."""

from collections.abc import Callable

from torch import Tensor, nn


class FeedForward(nn.Sequential):
    """Linear, GELU, Linear; the same at every position.

    Args:
        d_model: Width d of input and output.
        d_ff: Width of the hidden layer.
    """

    def __init__(self, d_model: int, d_ff: int):
        super().__init__(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))


class PostNorm(nn.Module):
    """x <- Norm(x + block(x)): the paper's form, and the default."""

    def __init__(self, d_model: int):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
        """Applies `block` to x (..., d) with the residual around it."""
        return self.norm(x + block(x))


class PreNorm(nn.Module):
    """x <- x + block(Norm(x)): the form of `norm_first`."""

    def __init__(self, d_model: int):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
        """Applies `block` to the normalised x (..., d) with the residual around it."""
        return x + block(self.norm(x))
