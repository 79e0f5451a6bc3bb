"""The T-Maze of several cues as a finite automaton: its situations are what must be remembered."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import rule
from rllib_elmur.envs.finite import END, FiniteTask

if TYPE_CHECKING:
    from rllib_elmur.envs.multi_cue import MultiCueTMaze

_MAX_SITUATIONS = 20_000
_NONE = -1


class _Situation(NamedTuple):
    """Everything that decides which observations may follow and which actions are correct.

    Attributes:
        known: Value of each cue that was shown and has not been asked for; `_NONE` for the others.
        asking: Whether all cues have been shown.
        shown: The cue that the next observations go on to show, or `_NONE`.
        steps: Their number; while asking, the steps walked in a corridor, as far as they matter.
    """

    known: tuple[int, ...]
    asking: bool = False
    shown: int = _NONE
    steps: int = 0

    def put(self, cue: int, value: int) -> tuple[int, ...]:
        """Returns `known` with another value of one cue."""
        return (*self.known[:cue], value, *self.known[cue + 1 :])


class _Edge(NamedTuple):
    """One time step: cue, value (or `_NONE`) and at-junction flag that are seen; what follows."""

    cue: int
    value: int
    flag: int
    correct: NDArray[np.bool_]
    after: _Situation | None


def finite_task(task: "MultiCueTMaze") -> FiniteTask:
    """Returns all episodes of a task; see `MultiCueTMaze.finite_task`."""
    situations = [_Situation(known=(_NONE,) * task.cues)]
    number: dict[_Situation | None, int] = {None: END, situations[0]: 0}
    source: list[int] = []
    edges: list[_Edge] = []
    for here in situations:
        for edge in _told(here, task) if not here.asking else _asked(here, task):
            if edge.after is not None and edge.after not in number:
                number[edge.after] = len(situations)
                situations.append(edge.after)
            source.append(number[here])
            edges.append(edge)
        if len(situations) > _MAX_SITUATIONS:
            raise ValueError(
                f"cues={task.cues}, values={task.values}: the finite description has more than "
                f"{_MAX_SITUATIONS} situations; choose fewer cues or values"
            )
    each, noise, spread = task.with_noise(np.arange(len(edges)))
    cue, value, flag = np.array([edge[:3] for edge in edges])[each].T
    shown = [np.eye(n + 1)[seen][:, :n] for n, seen in ((task.cues, cue), (task.values, value))]
    seen = rule.compose_observation(np.zeros_like(cue), np.concatenate(shown, axis=1), flag, noise)
    return FiniteTask(
        start=np.array([0]),
        source=np.array(source)[each],
        observation=seen[:, 1:],
        correct=np.array([edge.correct for edge in edges])[each],
        target=np.array([number[edge.after] for edge in edges])[each],
        entries=task.entries,
        spread=spread,
    )


def _told(here: _Situation, task: "MultiCueTMaze") -> Iterator[_Edge]:
    """Yields the steps that show a cue, a new one or the last one again; any action is correct."""
    anything = np.ones(task.action_space.n, dtype=np.bool_)
    left = here.steps - 1 if here.steps else task.hint_steps - 1
    if here.steps:
        shown = [(here.shown, here.known[here.shown])]
    else:
        unknown = (cue for cue, value in enumerate(here.known) if value == _NONE)
        shown = list(product(unknown, range(task.values)))
    for cue, value in shown:
        after = _Situation(here.put(cue, value), shown=cue if left else _NONE, steps=left)
        if not left and _NONE not in after.known:
            after = after._replace(asking=True)
        yield _Edge(cue, value, 0, anything, after)


def _asked(here: _Situation, task: "MultiCueTMaze") -> Iterator[_Edge]:
    """Yields the steps in a corridor, and those at a junction that asks for a cue still known."""
    correct = np.eye(task.action_space.n, dtype=np.bool_)
    shortest, longest = task.length_range
    if longest:
        yield _Edge(
            _NONE, _NONE, 0, correct[rule.RIGHT], here._replace(steps=min(here.steps + 1, shortest))
        )
    if here.steps == shortest:
        for cue in (cue for cue, value in enumerate(here.known) if value != _NONE):
            rest = _Situation(here.put(cue, _NONE), asking=True)
            after = None if set(rest.known) == {_NONE} else rest
            yield _Edge(cue, _NONE, 1, correct[task.answers[here.known[cue]]], after)
