"""Finds an interrupted experiment, and says what is left of one that cannot go on."""

import shutil
from pathlib import Path

from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints, ray_files


def folder_to_resume(storage: Path, name: str | None, experiment: str) -> Path:
    """The folder of the named experiment, or the newest folder of this experiment.

    Raises:
        UserError: If there is none, or none of its states is whole.
    """
    pattern = name or f"{experiment}_*"
    found = ray_files.experiments_in(storage, pattern)
    if not found:
        raise UserError(f"--resume: no experiment {pattern!r} in {storage}.")
    folder = max(found, key=lambda path: path.stat().st_mtime)
    if not ray_files.put_broken_states_aside(folder):
        raise unusable(folder, "no whole experiment_state-*.json")
    return folder


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
