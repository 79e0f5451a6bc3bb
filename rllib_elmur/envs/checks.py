"""Checks of option values: each failure names the option, the value and what is allowed."""

import difflib
import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

# Keeps positions times the largest slack well inside int64, and a range drawable from 32 bits.
LARGEST_INTEGER = 2**31 - 1


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def integer(name: str, value: Any, low: int, high: int = LARGEST_INTEGER) -> int:
    """Returns the value as an int.

    Raises:
        ValueError: If it is not an integer from `low` to `high`.
    """
    if not _is_integer(value) or not low <= value <= high:
        raise ValueError(f"{name}={value!r}: must be an integer from {low} to {high}")
    return int(value)


def integer_or_range(name: str, value: Any, low: int) -> int | tuple[int, int]:
    """Returns an int, or a pair (low, high) of ints.

    Raises:
        ValueError: If it is neither an integer from `low` to `LARGEST_INTEGER` nor two of them in
            ascending order.
    """
    is_range = isinstance(value, list | tuple | np.ndarray) and len(value) == 2
    ends: list[Any] = list(value) if is_range else [value]
    in_range = all(_is_integer(end) and low <= end <= LARGEST_INTEGER for end in ends)
    if not in_range or ends[0] > ends[-1]:
        raise ValueError(
            f"{name}={value!r}: must be an integer from {low} to {LARGEST_INTEGER}, "
            f"or two of them [low, high] with low <= high"
        )
    return (int(ends[0]), int(ends[1])) if is_range else int(value)


def number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
) -> None:
    """Checks a finite number with low <= value <= high and value > above.

    Raises:
        ValueError: If it is none.
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and low <= value <= high and value > above:
        return
    bounds = [f">= {low}"] * (low > -math.inf) + [f"> {above}"] * (above > -math.inf)
    bounds += [f"<= {high}"] * (high < math.inf)
    raise ValueError(f"{name}={value!r}: must be a finite number {' and '.join(bounds)}")


def choice(name: str, value: Any, allowed: Collection[Any]) -> None:
    """Checks that a value is one of those allowed.

    Raises:
        ValueError: If it is not.
    """
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(map(repr, allowed))}")


def known_options(names: Iterable[str], allowed: Collection[str]) -> None:
    """Checks option names.

    Raises:
        ValueError: If one is unknown; the message holds the nearest one that is known.
    """
    for name in names:
        if name not in allowed:
            nearest = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
            guess = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(
                f"unknown option {name!r}: {guess}Allowed are {', '.join(sorted(allowed))}"
            )


def actions(value: Any, shape: tuple[int, ...], count: int, ignored: Any = False) -> np.ndarray:
    """Returns actions as an array of integers.

    Args:
        value: The actions.
        shape: The shape that they must have.
        count: Number of actions there are.
        ignored: Mask of those that are not going to be used.

    Returns:
        The actions with the given shape; 0 in the place of illegal ones that are ignored.

    Raises:
        ValueError: If the shape or type is wrong, or one that is used is not in 0..count-1.
    """
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise ValueError(
            f"action={value!r}: must be {'an integer' if not shape else 'integers'} of shape "
            f"{shape} from 0 to {count - 1}"
        )
    illegal = (array < 0) | (array >= count)
    if illegal.any() and (illegal & ~np.asarray(ignored)).any():
        raise ValueError(f"action={value!r}: must be from 0 to {count - 1}")
    return np.where(illegal, 0, array)
