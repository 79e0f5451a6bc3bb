"""What a search has found out, and the states that it has found."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs.finite import FiniteTask

if TYPE_CHECKING:
    from rllib_elmur.proof.proof import Proof


@dataclass
class Certificate:
    """The outcome of a search.

    Attributes:
        task: What was decided: the task, whose noise the search may have cut into pieces.
        pieces: How many, if observations have a spread; the verdict is of all noise within it.
        verdict: "proven" (for every episode, of any length), "refuted" or "undecided".
        states: Pairs of a memory and a situation of the task that were found.
        transitions: Segments, from one of these to the next.
        answers: Actions that were checked.
        gap: The smallest lead of a correct action's logit over those of the wrong ones.
        chance: The largest probability of a wrong action where actions are drawn from the policy
            instead of taken greedily, in any step of an episode without a wrong one before.
        seconds: How long it took.
        counterexample: Edges (T,) of the task: a shortest episode in which the policy's last
            action, and no other, is wrong.
        closed: All states, if the verdict is "proven".
        proof: What each of them answers and where it leads, if that was asked for (`certify`).
    """

    task: FiniteTask
    pieces: int | None = None
    verdict: str = "undecided"
    states: int = 0
    transitions: int = 0
    answers: int = 0
    gap: float = float("inf")
    chance: float = 0.0
    seconds: float = 0.0
    counterexample: NDArray | None = None
    closed: "ClosedSet | None" = None
    proof: "Proof | None" = None


class ClosedSet(NamedTuple):
    """S states: pairs of a memory and a situation of the task.

    Attributes:
        situation: (S,) int64.
        written: How many slots of each layer are not empty, (S,) int64.
        memory: Content of the slots in LRU order, (S, n, M, d) int8; 0 in empty ones.
    """

    situation: NDArray[np.int64]
    written: NDArray[np.int64]
    memory: NDArray[np.int8]
