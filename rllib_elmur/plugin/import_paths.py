"""Where a training imported what its file names, for evaluations that are run elsewhere."""

import json
import sys
from pathlib import Path

_FILE = "import_paths.json"
_ABOVE = 3  # folders between a checkpoint and its experiment, and one to spare


def own_paths() -> list[str]:
    """The folders that modules are imported from, without those of the Python installation."""
    return [
        path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix))
    ]


def note_in(experiment: Path) -> None:
    """Notes the folders in the folder of an experiment's results."""
    experiment.mkdir(parents=True, exist_ok=True)
    paths = [str(Path(path).resolve()) for path in own_paths()]
    (experiment / _FILE).write_text(json.dumps(paths) + "\n", encoding="utf-8")


def add_those_of(checkpoint: Path) -> None:
    """Lets modules be imported from where the training of a checkpoint, or a folder, did so."""
    file = noted(checkpoint, _FILE)
    if file is not None:
        paths = json.loads(file.read_text(encoding="utf-8"))
        sys.path += [p for p in paths if p not in sys.path and Path(p).is_dir()]


def noted(checkpoint: Path, name: str) -> Path | None:
    """A file of this name in the folder of a checkpoint's experiment; None without."""
    files = (folder / name for folder in [checkpoint, *checkpoint.parents][: _ABOVE + 1])
    return next(filter(Path.is_file, files), None)
