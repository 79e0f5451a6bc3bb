"""Gymnasium's spaces as JSON."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_elmur.errors import UserError


def to_data(space: gym.Space) -> dict[str, Any]:
    """What JSON can hold of a space.

    Raises:
        UserError: If the space is of a kind that policies do not know.
    """
    match space:
        case spaces.Box():
            bounds = {"low": _numbers(space.low), "high": _numbers(space.high)}
            return {"kind": "Box", **bounds, "shape": list(space.shape), "dtype": _dtype(space)}
        case spaces.Discrete():
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiDiscrete():
            counts = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
            return {"kind": "MultiDiscrete", **counts, "dtype": _dtype(space)}
        case spaces.MultiBinary():
            return {"kind": "MultiBinary", "shape": list(space.shape)}
        case spaces.Dict() if all(isinstance(key, str) for key in space.spaces):
            return {"kind": "Dict", "spaces": {k: to_data(part) for k, part in space.items()}}
        case spaces.Tuple():
            return {"kind": "Tuple", "spaces": [to_data(part) for part in space]}
    raise UserError(
        f"The space {space} cannot be saved: it must be Box, Discrete, MultiDiscrete, MultiBinary, "
        "or a Dict (with keys that are strings) or Tuple of these."
    )


def from_data(data: dict[str, Any]) -> gym.Space:
    """The space that `to_data` was given.

    Raises:
        KeyError, TypeError, ValueError: If it is none.
    """
    match data["kind"]:
        case "Box":
            shape, dtype = tuple(data["shape"]), np.dtype(data["dtype"])
            low, high = (
                _array(data[name], shape, dtype, infinite)
                for name, infinite in (("low", -np.inf), ("high", np.inf))
            )
            return spaces.Box(low, high, shape, dtype.type)
        case "Discrete":
            return spaces.Discrete(data["n"], start=data["start"])
        case "MultiDiscrete":
            dtype = np.dtype(data["dtype"])
            return spaces.MultiDiscrete(np.array(data["nvec"]), dtype.type, start=data["start"])
        case "MultiBinary":
            shape = data["shape"]
            return spaces.MultiBinary(shape[0] if len(shape) == 1 else shape)
        case "Dict":
            return spaces.Dict({key: from_data(part) for key, part in data["spaces"].items()})
        case "Tuple":
            return spaces.Tuple([from_data(part) for part in data["spaces"]])
    raise ValueError(f"the kind of space {data['kind']!r} is not known")


def _dtype(space: gym.Space) -> str:
    return np.dtype(space.dtype).name


def _numbers(bounds: np.ndarray) -> Any:
    """Bounds, or one number if all are the same; None for one that is infinite."""
    flat = bounds.reshape(-1)
    if len(flat) and (flat == flat[0]).all():
        return flat[0].item() if np.isfinite(flat[0]) else None
    return [x.item() if np.isfinite(x) else None for x in flat]


def _array(numbers: Any, shape: tuple[int, ...], dtype: Any, infinite: float) -> np.ndarray:
    if not isinstance(numbers, list):
        return np.full(shape, infinite if numbers is None else numbers, dtype)
    return np.array([infinite if x is None else x for x in numbers], dtype).reshape(shape)
