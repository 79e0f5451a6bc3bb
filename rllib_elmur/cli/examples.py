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
    """Names and one-line descriptions: the first line of each file, a comment or a docstring."""
    return {
        name: path.read_text(encoding="utf-8").splitlines()[0].strip('# "')
        for name, path in _paths().items()
    }


def path_of(name: str) -> Path:
    """The file of an example.

    Raises:
        UserError: If there is no example of this name.
    """
    paths = _paths()
    if name not in paths:
        raise UserError(f"no example {name!r}.{nearest(name, paths)} Examples: {', '.join(paths)}.")
    return paths[name]


def _paths() -> dict[str, Path]:
    files = sorted(path for path in folder().iterdir() if path.suffix in (".yaml", ".py"))
    return {path.stem: path for path in files}
