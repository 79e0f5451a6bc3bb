"""Spaces that are nested, and values nested like them, part by part.

Parts come in RLlib's order: those of a Dict by their sorted keys.
"""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
from gymnasium import spaces


def spaces_of(space: gym.Space, path: str = "") -> Iterator[tuple[str, gym.Space]]:
    """The spaces that a space is made of, each with its path, such as ``['a'][0]``."""
    for key, part in _items(space):
        yield from spaces_of(part, f"{path}[{key!r}]")
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        yield path, space


def values_of(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays or tensors that a value is made of, each with its path."""
    for key, part in _items(value):
        yield from values_of(part, f"{path}[{key!r}]")
    if not isinstance(value, (dict, tuple, list)):
        yield path, value


def _items(nested: Any) -> Iterator[tuple[Any, Any]]:
    """The keys and parts of a space or value; nothing if it is not nested."""
    if isinstance(nested, (dict, spaces.Dict)):
        yield from ((key, nested[key]) for key in sorted(nested.keys()))
    elif isinstance(nested, (tuple, list, spaces.Tuple)):
        yield from enumerate(nested)


def each_part(function: Callable[..., Any], value: Any, *others: Any) -> Any:
    """Applies a function to the arrays of values that are nested alike."""
    if isinstance(value, dict):
        return {k: each_part(function, v, *(o[k] for o in others)) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(
            each_part(function, *parts) for parts in zip(value, *others, strict=True)
        )
    return function(value, *others)
