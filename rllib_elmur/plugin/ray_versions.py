"""The versions of Ray that this package works with; no other file says so in code.

`tests/compat.sh` runs both ends of the range, and `pyproject.toml` declares it to pip.
"""

import re
from importlib.metadata import PackageNotFoundError, version

OLDEST, NEWEST = "2.56", "2.60"
RANGE = f"ray[rllib] {OLDEST} to {NEWEST}"


def why_not(found: str | None = None) -> str | None:
    """The sentence on a version of Ray outside of the range; None for one within it.

    Args:
        found: The version; None: the one that is installed.
    """
    if found is None:
        try:
            found = version("ray")
        except PackageNotFoundError:
            return f"Ray is not installed; rllib_elmur works with {RANGE}."
    if _minor(OLDEST) <= _minor(found) <= _minor(NEWEST):
        return None
    return f"Ray {found} is installed; rllib_elmur works with {RANGE}."


def require_ray() -> None:
    """Raises an ImportError where Ray is missing or outside of the range."""
    problem = why_not()
    if problem is not None:
        raise ImportError(problem, name="ray")


def _minor(found: str) -> tuple[int, int]:
    """The first two numbers of a version, such as (2, 60)."""
    numbers = re.findall(r"\d+", found)
    return int(numbers[0]), int(numbers[1])
