"""The versions of Ray that this package works with: no other file of the package says so.

`pyproject.toml` declares the same range to pip, and `tests/compat.sh` runs the ends of it. An older
Ray is refused, as what is needed is not there. A newer one is warned of: most releases change
nothing that matters here, and where one does, the plugin goes RLlib's plain way.
"""

import logging
import re
from importlib.metadata import PackageNotFoundError, version

OLDEST, NEWEST = "2.56", "2.60"
RANGE = f"ray[rllib] {OLDEST} to {NEWEST}"

_logger = logging.getLogger("rllib_elmur")
_said: set[str] = set()


def require_ray() -> None:
    """Checks the installed Ray, before anything of it is imported.

    Raises:
        ImportError: If there is no Ray or one that is too old.
    """
    try:
        found = version("ray")
    except PackageNotFoundError:
        raise ImportError(f"Ray is not installed: rllib_elmur needs {RANGE}.", name="ray") from None
    if _minor(found) < _minor(OLDEST):
        raise ImportError(
            f"Ray {found} is too old: rllib_elmur needs {RANGE}, the versions that it is tested "
            "with.",
            name="ray",
        )
    if _minor(found) > _minor(NEWEST) and found not in _said:
        _said.add(found)
        _logger.warning(
            f"Ray {found} is newer than the versions that rllib_elmur is tested with, {RANGE}."
        )


def _minor(found: str) -> tuple[int, int]:
    """The first two numbers of a version, such as (2, 60)."""
    numbers = re.findall(r"\d+", found)
    return int(numbers[0]), int(numbers[1])
