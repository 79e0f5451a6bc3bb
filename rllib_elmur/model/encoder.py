"""From an observation of any supported space to a token."""

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rllib_elmur.model.previous import PREVIOUS_ACTION, PREVIOUS_REWARD

SMALL = 0.1  # the first weights of a previous action and reward, beside those of an observation


def build_encoder(space: gym.Space, d: int, name: str = "observation") -> nn.Module:
    """Builds the encoder of a space: a module from (B, T, *space) tensors to (B, T, d) tokens.

    Args:
        space: Box (vector, or an image with channels last), Discrete, MultiDiscrete, MultiBinary,
            or a Dict or Tuple of these, nested.
        d: Width of the tokens.
        name: How an error calls the space.

    Raises:
        ValueError: If the space is not supported; the message names it.
    """
    match space:
        case spaces.Box() if len(space.shape) in (2, 3):
            return ImageEncoder(space, d)
        case spaces.Box() if len(space.shape) <= 1:
            return VectorEncoder(int(np.prod(space.shape)), d, len(space.shape))
        case spaces.MultiBinary():
            return VectorEncoder(int(np.prod(space.shape)), d, len(space.shape))
        case spaces.Discrete():
            return CategoryEncoder([int(space.n)], d, int(space.start), 0)
        case spaces.MultiDiscrete():
            sizes = space.nvec.reshape(-1).tolist()
            return CategoryEncoder(sizes, d, space.start.reshape(-1).tolist(), space.nvec.ndim)
        case spaces.Dict() | spaces.Tuple():
            parts = dict(_items(space))
            if parts:
                return CompositeEncoder(
                    {k: build_encoder(part, d, f"{name}[{k!r}]") for k, part in parts.items()}
                )
    raise ValueError(
        f"{name} space {space} is not supported: it must be a Box of at most 3 axes, Discrete, "
        "MultiDiscrete, MultiBinary, or a non-empty Dict or Tuple of these."
    )


def _items(space: spaces.Dict | spaces.Tuple) -> Iterable[tuple[Any, gym.Space]]:
    return space.items() if isinstance(space, spaces.Dict) else enumerate(space)


class VectorEncoder(nn.Module):
    """A two-layer perceptron on flat features."""

    def __init__(self, n_features: int, d: int, n_axes: int):
        super().__init__()
        self.n_axes = n_axes
        self.hidden = nn.Linear(n_features, d)
        self.projection = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes (B, T, *shape)."""
        x = x.flatten(-self.n_axes) if self.n_axes else x[..., None]
        hidden = self.hidden(x.to(self.hidden.weight.dtype))
        return self.projection(hidden.relu_())


class CategoryEncoder(nn.Module):
    """One embedding per value of each category; those of several categories add up."""

    first: Tensor
    last: Tensor
    offset: Tensor

    def __init__(self, sizes: list[int], d: int, start: int | list[int], n_axes: int):
        super().__init__()
        self.n_axes = n_axes
        self.embedding = nn.Embedding(sum(sizes), d)
        end = torch.tensor(sizes).cumsum(0)
        first = end - torch.tensor(sizes)  # where each category's embeddings begin
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("last", end - 1, persistent=False)
        self.register_buffer("offset", first - torch.as_tensor(start), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes (B, T) or (B, T, *shape) integers."""
        x = x.flatten(-self.n_axes) if self.n_axes else x[..., None]
        # Padded time steps hold 0, which a space with another `start` need not contain.
        index = (x.long() + self.offset).clamp(self.first, self.last)
        return self.embedding(index).sum(-2)


class ImageEncoder(nn.Module):
    """Strided convolutions until the picture is small, then a projection.

    Axes are (height, width[, channels]), as RLlib's. Integer pixels are scaled to [0, 1].
    """

    def __init__(self, space: spaces.Box, d: int):
        super().__init__()
        height, width, channels = (*space.shape, 1)[:3]
        self.n_axes = len(space.shape)
        self.scale = 1 / 255 if np.issubdtype(space.dtype, np.integer) else 1.0
        layers: list[nn.Module] = []
        out = 16
        while max(height, width) > 6:
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.ReLU()]
            height, width = (height + 1) // 2, (width + 1) // 2
            channels, out = out, min(2 * out, 64)
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.Flatten()]
        self.convolutions = nn.Sequential(*layers)
        self.projection = nn.Linear(out * height * width, d)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes (B, T, height, width[, channels])."""
        x = x.to(self.projection.weight.dtype) * self.scale
        if self.n_axes == 2:
            x = x[..., None]
        batch = x.shape[:-3]
        pixels = x.flatten(0, -4).movedim(-1, -3)  # (B * T, channels, height, width)
        return self.projection(self.convolutions(pixels)).unflatten(0, batch)


class CompositeEncoder(nn.Module):
    """The sum of its parts' tokens: as each ends linearly, a projection of them side by side.

    A previous action or reward begins small. As loud as the observation it would be noise in all
    that memory holds, for as long as the policy acts at random.
    """

    def __init__(self, parts: dict[Any, nn.Module]):
        super().__init__()
        self.keys = list(parts)
        for name in {PREVIOUS_ACTION, PREVIOUS_REWARD} & parts.keys():
            _scale(parts[name], SMALL)
        self.parts = nn.ModuleList(parts.values())

    def forward(self, x: Any) -> Tensor:
        """Encodes a mapping or sequence of the parts' tensors."""
        first, *others = [part(x[key]) for key, part in zip(self.keys, self.parts, strict=True)]
        return sum(others, first)


@torch.no_grad()
def _scale(encoder: nn.Module, factor: float) -> None:
    """Scales the tokens of an encoder."""
    if isinstance(encoder, CompositeEncoder):
        for part in encoder.parts:
            _scale(part, factor)
        return
    *_, last = encoder.modules()  # the linear one at its end
    for parameter in last.parameters():
        parameter.mul_(factor)
