"""Refuses weights that do not fit a network."""

from collections.abc import Iterable, Mapping
from typing import Any


class ForeignWeights(ValueError):
    """Weights that are those of another module."""


def require_fitting(
    ours: Mapping[str, Any], given: Mapping[str, Any], optional: Iterable[str] = ()
) -> None:
    """Raises a ForeignWeights if weights have other names or shapes than a module's.

    RLlib would load the part of them that has the same names.

    Args:
        ours: The module's parameters by name.
        given: The weights.
        optional: Attributes of the module whose parameters may be on one side only.
    """
    attributes = set(optional)
    differ = {
        name: f"is on one side only ({len(ours)} parameters here, {len(given)} there)"
        for name in ours.keys() ^ given.keys()
        if name.split(".")[0] not in attributes
    } or {
        name: f"has the shape {tuple(given[name].shape)} there and {tuple(value.shape)} here"
        for name, value in ours.items()
        if name in given and tuple(given[name].shape) != tuple(value.shape)
    }
    if differ:
        name = min(differ)
        raise ForeignWeights(
            f"The weights do not belong to an ELMUR module with these options and spaces: {name!r} "
            f"{differ[name]}."
        )
