"""The tuned examples that come with the package."""

from pathlib import Path

import rllib_elmur
from rllib_elmur.errors import UserError, nearest


def folder() -> Path:
    """Where the examples are: in the installed package, or beside it in a source checkout."""
    package = Path(rllib_elmur.__file__).parent
    installed = package / "tuned_examples"
    return installed if installed.is_dir() else package.parent / "tuned_examples"


def descriptions() -> dict[str, str]:
    """Names and one-line descriptions: the first line of each file, a comment."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(folder().glob("*.yaml"))
    }


def path_of(name: str) -> Path:
    """The file of an example.

    Raises:
        UserError: If there is no example of this name.
    """
    names = [path.stem for path in sorted(folder().glob("*.yaml"))]
    if name not in names:
        raise UserError(f"no example {name!r}.{nearest(name, names)} Examples: {', '.join(names)}.")
    return folder() / f"{name}.yaml"
