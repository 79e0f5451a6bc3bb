"""A training that begins with the state of a checkpoint."""


class RestoreFrom:
    """An `on_algorithm_init` callback that loads a checkpoint's state into a new algorithm."""

    def __init__(self, checkpoint: str):
        self.checkpoint = checkpoint

    def __call__(self, *, algorithm, **kwargs) -> None:
        """Loads weights, optimizers, counters and connector states."""
        algorithm.restore_from_path(self.checkpoint)
