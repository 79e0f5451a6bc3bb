"""Training that begins with the state of a checkpoint."""

from pathlib import Path
from typing import Any

from rllib_elmur.errors import UserError
from rllib_elmur.plugin.checkpoints import require_format
from rllib_elmur.plugin.ray_files import is_algorithm


class RestoreFrom:
    """An `on_algorithm_init` callback that loads a checkpoint's state into a new algorithm."""

    def __init__(self, checkpoint: str):
        self.checkpoint = checkpoint

    def __call__(self, *, algorithm, **kwargs) -> None:
        """Loads weights, optimizers, counters and connector states."""
        algorithm.restore_from_path(self.checkpoint)


def begin_with(checkpoint: Path, config: Any) -> None:
    """Lets an algorithm of this config begin with the state of a checkpoint.

    Raises:
        UserError: If the path is not a checkpoint of an algorithm, or one of another format.
    """
    path = checkpoint.expanduser().resolve()
    if not is_algorithm(path):
        raise UserError(f"--restore {checkpoint}: not a checkpoint of an algorithm.")
    require_format(path)
    present = config.callbacks_on_algorithm_init or []
    present = present if isinstance(present, list) else [present]
    config.callbacks(on_algorithm_init=[*present, RestoreFrom(str(path))])
