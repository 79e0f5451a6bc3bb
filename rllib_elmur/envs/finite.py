"""A task as a finite automaton: all that can be seen in an episode, and what is correct then."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

END = -1
"""The target of an edge that ends the episode."""


class FiniteTask(NamedTuple):
    """Every episode in which the agent acts correctly, as paths of E edges between situations.

    An edge is one time step: what may be seen in a situation, which actions are correct, and the
    situation that follows a correct one. Where several edges leave a situation, chance chooses.

    Attributes:
        start: Situations in which an episode may begin, (K,) int64.
        source: Situation of each edge, (E,) int64.
        observation: What is seen, (E, *observation shape).
        correct: Which of the A actions are correct, (E, A) bool.
        target: Situation after a correct action, or `END`, (E,) int64.
        entries: What the entries of an observation are called, if it is a vector.
        spread: How far each entry of an observation may lie from what an edge shows, real numbers
            of an observation's shape; None: not at all.
    """

    start: NDArray[np.int64]
    source: NDArray[np.int64]
    observation: NDArray
    correct: NDArray[np.bool_]
    target: NDArray[np.int64]
    entries: tuple[str, ...] = ()
    spread: NDArray | None = None
