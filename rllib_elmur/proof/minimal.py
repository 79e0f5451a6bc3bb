"""How much a proven policy remembers, and how much its task needs."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.proof.proof import Proof

_MOST_PAIRS = 4_000_000  # of edges that show the same, of which the least is computed


class MinimalAutomaton(NamedTuple):
    """The states of a proof, those that act alike taken together.

    Attributes:
        kind: For each of the S states, which of the K kinds it is of, (S,).
        remembering: The kinds of states that a segment has led to, which may hold something.
        needed: How many states, at least, any policy has to tell apart at the end of a segment;
            None if the task is too large to say.
    """

    kind: NDArray[np.int64]
    remembering: NDArray[np.int64]
    needed: int | None


def minimise(proof: Proof) -> MinimalAutomaton:
    """Takes states together that act alike, whatever is seen from then on.

    By partition refinement (Moore 1956): at first two states are of one kind if they can see the
    same in the next segment and answer the same; then kinds are split as long as states of one
    are led to different kinds by the same sight.
    """
    sights, situation = _sights(proof), proof.states.situation
    kind = _numbered(
        [
            (sights[at], answers.tobytes())
            for at, answers in zip(situation, proof.answers, strict=True)
        ]
    )
    state, leaf, after = proof.transitions.T
    while True:
        led = np.unique(np.stack([state, leaf, kind[after]], axis=1), axis=0)
        begin = np.searchsorted(led[:, 0], np.arange(len(kind) + 1))
        split = _numbered(
            [
                (own, led[a:b, 1:].tobytes())
                for own, (a, b) in zip(kind.tolist(), pairwise(begin), strict=True)
            ]
        )
        if split.max() == kind.max():
            break
        kind = split
    remembering = np.unique(kind[proof.states.written > 0])
    needed = _needed(proof.task, np.unique(situation[proof.states.written > 0]))
    return MinimalAutomaton(kind, remembering, needed)


def _numbered(values: list) -> NDArray[np.int64]:
    """Equal values by one number, in the order in which they come."""
    numbers: dict = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values])


def _observations(task: FiniteTask) -> NDArray[np.int64]:
    """What is seen at each edge, by number, (E,)."""
    rows = task.observation.reshape(len(task.source), -1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _sights(proof: Proof) -> list[int]:
    """For each situation, a number of what can be seen in a segment from there."""
    seen = _observations(proof.task)
    return _numbered(
        [(seen[tree.symbol].tobytes(), tree.path.tobytes()) for tree in proof.trees]
    ).tolist()


def _needed(task: FiniteTask, situations: NDArray[np.int64]) -> int | None:
    """How many of some situations are such that no state can stand for two of them.

    No state can if the same can be seen after both and then has no correct answer in common. As
    many as are so in pairs are needed, at least.
    """
    seen = _observations(task)
    same = [np.flatnonzero(seen == each) for each in range(seen.max() + 1)]
    if sum(len(edges) ** 2 for edges in same) > _MOST_PAIRS:
        return None
    pairs = [np.stack(np.meshgrid(edges, edges), axis=-1).reshape(-1, 2) for edges in same]
    one, other = np.concatenate(pairs).T
    size = task.source.max() + 1
    apart = np.zeros((size, size), dtype=np.bool_)
    at_once = ~(task.correct[one] & task.correct[other]).any(axis=1)
    goes_on = (task.target[one] != END) & (task.target[other] != END)
    while True:
        later = goes_on & apart[task.target[one], task.target[other]]
        grown = apart.copy()
        np.logical_or.at(grown, (task.source[one], task.source[other]), at_once | later)
        if (grown == apart).all():
            break
        apart = grown
    apart = apart[np.ix_(situations, situations)]
    chosen: list[int] = []
    for each in np.argsort(-apart.sum(axis=1), kind="stable"):
        if apart[each, chosen].all():
            chosen.append(int(each))
    return len(chosen)
