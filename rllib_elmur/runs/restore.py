"""Training that begins with the state of a checkpoint."""

from pathlib import Path
from typing import Any

from rllib_elmur.errors import UserError
from rllib_elmur.plugin.checkpoints import require_format
from rllib_elmur.plugin.module import is_elmur
from rllib_elmur.plugin.ray_files import constructed, is_algorithm, modules_of
from rllib_elmur.plugin.review import elmurs_in
from rllib_elmur.plugin.saved_weights import other_sizes


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
        UserError: If the path is not a checkpoint of an algorithm, or one of another format, or of
            modules with other sizes.
    """
    path = checkpoint.expanduser().resolve()
    if not is_algorithm(path):
        raise UserError(f"--restore {checkpoint}: not a checkpoint of an algorithm.")
    require_format(path)
    _require_same_sizes(checkpoint, config)
    present = config.callbacks_on_algorithm_init or []
    present = present if isinstance(present, list) else [present]
    config.callbacks(on_algorithm_init=[*present, RestoreFrom(str(path))])


def _require_same_sizes(checkpoint: Path, config: Any) -> None:
    """Raises a UserError if an ELMUR module of the config has other sizes than the saved one."""
    saved = modules_of(checkpoint.expanduser().resolve())
    for module_id, elmur in elmurs_in(config).items():
        if module_id not in saved or not is_elmur(constructed(saved[module_id]).of_class):
            continue
        other = other_sizes(constructed(saved[module_id]).keywords["model_config"], elmur.options)
        if other is not None:
            raise UserError(f"--restore {checkpoint}: {other}")
