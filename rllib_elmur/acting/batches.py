"""Observations and actions of many episodes as nested arrays (B, ...)."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_elmur.model.nested import each_part


def as_batch(space: gym.Space, observation: Any) -> tuple[Any, int | None]:
    """Makes a batch of what one episode or several returned.

    Args:
        space: Of one observation.
        observation: A member of `space`, or such with a batch axis in front of each array.

    Returns:
        Arrays (B, ...), nested as `space` is, and B; None for a single observation, whose B is 1.

    Raises:
        ValueError: If it is not of the space; the message names the part.
    """
    sizes: dict[str, int | None] = {}
    batch = _as_batch(space, observation, "observation", sizes)
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{path}: {'no' if n is None else n}" for path, n in sizes.items())
        raise ValueError(
            f"The parts of the observation have batch axes of different sizes: {each}."
        )
    return batch, next(iter(sizes.values()))


def _as_batch(space: gym.Space, value: Any, path: str, sizes: dict[str, int | None]) -> Any:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        items = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        parts = {}
        for key, part in items:
            name = f"{path}[{key!r}]"
            try:
                inner = value[key]
            except (KeyError, IndexError, TypeError) as error:
                raise ValueError(f"{name} is missing: the policy's space is {space}.") from error
            parts[key] = _as_batch(part, inner, name, sizes)
        return parts if isinstance(space, spaces.Dict) else tuple(parts.values())
    array, shape = np.asarray(value), space.shape or ()
    if array.shape == shape:
        sizes[path], array = None, array[None]
    elif array.ndim == len(shape) + 1 and array.shape[1:] == shape:
        sizes[path] = len(array)
    else:
        of_batch = ", ".join(["B", *map(str, shape)])
        raise ValueError(
            f"{path} has shape {array.shape}: the policy's space is {space}, so the shape must be "
            f"{shape}, or ({of_batch}) for B episodes."
        )
    _require_inside(space, array, path)
    return array


def _require_inside(space: gym.Space, array: np.ndarray, path: str) -> None:
    """Raises for what the network would take in silence, before it gets into the memory.

    A category that it does not know would be taken for another.
    """
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        row, *_ = first = tuple(np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{path} contains {array[first]} (row {row} of the batch): observations must be finite."
        )
    if isinstance(space, spaces.Discrete):
        first, last = space.start, space.start + space.n - 1
    elif isinstance(space, spaces.MultiDiscrete):
        first, last = space.start, space.start + space.nvec - 1
    else:
        return
    if not np.issubdtype(array.dtype, np.integer) or (array < first).any() or (array > last).any():
        raise ValueError(f"{path}={array.tolist()} lies outside of the policy's space {space}.")


def row_of(batch: Any, row: int) -> Any:
    """One row of nested arrays (B, ...)."""
    return each_part(lambda array: array[row], batch)
