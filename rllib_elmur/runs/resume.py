"""Finds an interrupted experiment, and says what is left of one that cannot go on."""

import json
import shutil
from pathlib import Path

from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints


def folder_to_resume(storage: Path, name: str | None, experiment: str) -> Path:
    """The folder of the named experiment, or the newest folder of this experiment.

    Raises:
        UserError: If there is none, or none of its states is whole.
    """
    pattern = name or f"{experiment}_*"
    found = [path.parent for path in storage.glob(f"{pattern}/tuner.pkl")]
    if not found:
        raise UserError(f"--resume: no experiment {pattern!r} in {storage}.")
    folder = max(found, key=lambda path: path.stat().st_mtime)
    _put_broken_states_aside(folder)
    return folder


def _put_broken_states_aside(folder: Path) -> None:
    """Leaves Tune a whole state to resume from: Tune waits for ever on one that is cut short."""
    for path in sorted(folder.glob("experiment_state-*.json"), reverse=True):
        try:
            json.loads(path.read_text())
            return
        except ValueError:
            path.rename(path.with_suffix(".broken"))
    raise unusable(folder, "no whole experiment_state-*.json")


def unusable(folder: Path, why: str) -> UserError:
    """Says what to do where Tune cannot write or read its files."""
    what = f"{folder}: {why} ({shutil.disk_usage(folder).free:,} bytes are free there)."
    try:
        newest = checkpoints.find(folder)
    except UserError:
        return UserError(f"{what} It holds no whole checkpoint.")
    return UserError(
        f"{what} The newest whole checkpoint is {newest}; --restore {newest} begins with it."
    )
