"""Format numbers of what leaves a process: snapshots of the state, and saved weights.

A number goes up with each change after which the other side would misread: another order or type of
a snapshot's parts, other names, shapes or meanings of parameters, other defaults (what is saved of
the options are those that were given). A version reads its own numbers and no others. What it is
handed with another number, or without one, is refused by one sentence with both; nothing is
converted.

- `SNAPSHOT` is the first byte of each snapshot that an env runner sends to a learner. The numbers
  differ where the nodes of a cluster have different versions of this package.
- `CHECKPOINT` stands in the `metadata.json` of each saved module, as `rllib_elmur_format`. Weights
  that RLlib sends from learners to env runners carry no number: snapshots come back from there.
"""

from pathlib import Path
from typing import Any

from rllib_elmur.plugin.ray_files import metadata_of

SNAPSHOT = 1
CHECKPOINT = 4
KEY = "rllib_elmur_format"


def require_snapshot(found: int) -> None:
    """Raises a ValueError for a snapshot of another format."""
    if found != SNAPSHOT:
        raise ValueError(
            f"A snapshot of ELMUR's state has format {found}, and this process reads format "
            f"{SNAPSHOT}: install the same version of rllib_elmur on all nodes."
        )


def require_checkpoint(path: str | Path, filesystem: Any = None) -> None:
    """Raises a ValueError for a saved module of another format.

    Args:
        path: The folder that the module was saved to.
        filesystem: The PyArrow file system that `path` belongs to; None: `path` may be a URI.
    """
    metadata = metadata_of(path, filesystem)
    if metadata is None:
        return  # RLlib restores without it
    found = metadata.get(KEY)
    if found != CHECKPOINT:
        number = "no format number" if found is None else f"format {found}"
        raise ValueError(
            f"{path}: the saved module has {number}, and this version of rllib_elmur reads format "
            f"{CHECKPOINT}: use the version that saved it, or train anew."
        )
