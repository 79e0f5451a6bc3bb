"""The versions of Ray that this package works with: no other file of the package says so.

`pyproject.toml` declares the same range to pip, and `tests/compat.sh` runs the ends of it. An older
Ray is refused, as what is needed is not there. A newer one is warned of: most releases change
nothing that matters here, and where one does, the plugin goes RLlib's plain way.
"""

import re
from importlib.metadata import PackageNotFoundError, version

from rllib_elmur.plugin.say_once import say_once

OLDEST, NEWEST = "2.56", "2.60"
RANGE = f"ray[rllib] {OLDEST} to {NEWEST}"


def why_not(found: str | None = None) -> str | None:
    """The sentence on a version of Ray outside of the range; None for one within it.

    Args:
        found: The version; None: the one that is installed.
    """
    found = _installed() if found is None else found
    if found is None:
        return f"Ray is not installed: rllib_elmur needs {RANGE}."
    if _is_too_old(found):
        return f"Ray {found} is too old: rllib_elmur is tested with {RANGE}, and needs one of them."
    if _minor(found) > _minor(NEWEST):
        return f"Ray {found} is newer than the versions that rllib_elmur is tested with, {RANGE}."
    return None


def require_ray() -> None:
    """Checks the installed Ray, before anything of it is imported.

    Raises:
        ModuleNotFoundError: If there is no Ray.
        ImportError: If there is one that is too old.
    """
    problem = why_not()
    if problem is None:
        return
    found = _installed()
    if found is None:
        raise ModuleNotFoundError(problem, name="ray")
    if _is_too_old(found):
        raise ImportError(problem, name="ray")
    say_once(problem)


def _installed() -> str | None:
    try:
        return version("ray")
    except PackageNotFoundError:
        return None


def _is_too_old(found: str) -> bool:
    return _minor(found) < _minor(OLDEST)


def _minor(found: str) -> tuple[int, int]:
    """The first two numbers of a version, such as (2, 60)."""
    numbers = re.findall(r"\d+", found)
    return int(numbers[0]), int(numbers[1])
