"""Search spaces of Ray Tune that stand in the place of an option's value."""

from typing import Any

from ray.tune.search.sample import Domain


def is_search_space(value: Any) -> bool:
    """Whether Tune is to put a value in this one's place."""
    return isinstance(value, Domain) or (isinstance(value, dict) and "grid_search" in value)
