"""Context managers that change what this process logs and how many threads it uses."""

import logging
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import gymnasium
import torch


@contextmanager
def quiet(verbose: int = 0) -> Generator[None]:
    """Keeps warnings and log lines of Ray, RLlib and Gymnasium off the screen, unless `verbose`.

    What this package itself logs goes through.
    """
    if verbose:
        yield
        return
    former = logging.root.manager.disable, gymnasium.logger.min_level
    ours = logging.getLogger("rllib_elmur")
    former_manager = ours.manager
    ours.manager = logging.Manager(logging.root)  # `logging.disable` works by the manager
    # RLlib sets its own logger's level anew when a config is validated.
    logging.disable(logging.ERROR)
    gymnasium.logger.min_level = gymnasium.logger.ERROR  # ty: ignore[invalid-assignment]
    # Read by the workers, and by Tune for its banner.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.manager = former_manager
        logging.disable(former[0])
        gymnasium.logger.min_level = former[1]


@contextmanager
def one_thread() -> Generator[None]:
    """Lets PyTorch use one thread: small matrices in sequence are too little work to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
