"""Cuts what noise may be into pieces: bounds are the closer, the less there is between them."""

from itertools import product

import numpy as np

from rllib_elmur.envs.finite import FiniteTask


def in_pieces(task: FiniteTask, pieces: int) -> FiniteTask:
    """The same task, an edge for each combination of pieces of its entries that have a spread."""
    if task.spread is None or pieces == 1:
        return task
    spread = np.asarray(task.spread, dtype=np.float64)
    # Middles of the pieces of [-1, 1].
    middle = (2 * np.arange(pieces) + 1) / pieces - 1
    noisy = np.flatnonzero(spread)
    shift = np.zeros((pieces ** len(noisy), spread.size))
    shift[:, noisy] = list(product(middle, repeat=len(noisy)))
    shift = shift.reshape(-1, *spread.shape) * spread
    n_edges = len(task.source)
    observation = (task.observation[:, None] + shift).astype(task.observation.dtype)
    each = np.repeat(np.arange(n_edges), len(shift))
    # Middles are rounded to what observations are; between pieces nothing is to be left out.
    rounded = np.finfo(np.float32).eps * np.abs(observation).max()
    return task._replace(
        source=task.source[each],
        observation=observation.reshape(-1, *spread.shape),
        correct=task.correct[each],
        target=task.target[each],
        spread=np.where(spread > 0, spread / pieces + rounded, 0.0),
    )
