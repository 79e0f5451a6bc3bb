"""The rune T-Maze: runes on the way change what the hint said, by a rule that each of them names.

After the 'Rune T-Maze' of the literature on rewriting memory (arXiv:2610.00592), whose rules we
know by their names alone: those here are our own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, render, rule
from rllib_elmur.envs.adapters import TMazeEnv, TMazeVectorEnv
from rllib_elmur.envs.cues import CueSchedule, observed_cue
from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.envs.hidden_cue import CANCEL, NO_RUNE, REPEAT, RESET, RUNES, HiddenCue
from rllib_elmur.envs.hinted import HintedTMaze, counters
from rllib_elmur.envs.random_numbers import random_integers
from rllib_elmur.envs.rule import EpisodeState

_DRAW_KIND = 2  # of a rune; see `counters`


@dataclass(frozen=True)
class RuneTMaze(HintedTMaze):
    """The rune T-Maze; options are these and those of `TMaze`.

    The hint becomes a hidden cue, which decides at the junction. A rune is shown in one observation
    of the corridor. "invert" makes the cue its opposite; "reset" makes it the hint again; both are
    updates. "cancel" takes the last update back, and does nothing if there is none or it was
    taken back already. "repeat" does the last update once more, and nothing if there is none or it
    was taken back.

    Attributes:
        composition: Kinds of runes that there may be, joined by "+".
        runes: At most so many runes; their number, kinds and times are drawn.

    Raises:
        ValueError: If an option has a value that is not allowed.
    """

    composition: str = "invert"
    runes: int = 4

    entries: ClassVar[tuple[str, ...]] = ("y", "hint", *RUNES, "junction", "noise")

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = self.composition.split("+") if isinstance(self.composition, str) else [""]
        if not set(kinds) <= set(RUNES) or len(set(kinds)) < len(kinds):
            raise ValueError(
                f"composition={self.composition!r}: must be one or more of {', '.join(RUNES)}, "
                "joined by '+', each at most once"
            )
        checks.integer("runes", self.runes, low=0)

    @cached_property
    def _kinds(self) -> NDArray[np.int64]:
        """Places in `RUNES` of the kinds that there may be."""
        return np.array([RUNES.index(kind) for kind in self.composition.split("+")])

    def _cues(
        self, draw: NDArray[np.uint64], begin: NDArray[np.int64], length: NDArray[np.int64]
    ) -> CueSchedule:
        """The hint at the corridor's begin, and the runes after it."""
        at, given = self._drawn_times(draw, length, self.runes)
        drawn = random_integers(*counters(draw, self.runes, _DRAW_KIND), 0, len(self._kinds) - 1)
        rune = np.where(given, self._kinds[drawn], NO_RUNE)
        end = begin[:, None] + self.hint_steps
        return _schedule(
            begin=np.concatenate([begin[:, None], end + at], axis=1),
            end=np.concatenate([end, end + at + given], axis=1),
            hint=self._hint(draw),
            rune=rune,
        )

    def _scripted_cues(self, script: NDArray[np.float32], number: int) -> CueSchedule:
        hints, runes = np.flatnonzero(script[:, 1]), np.flatnonzero(script[:, 2:-2].any(axis=1))
        at = np.repeat([[0, *runes]], number, axis=0)
        kind = script[runes, 2:-2].argmax(axis=1)
        return _schedule(
            begin=at,
            end=np.concatenate([at[:, :1] + len(hints), at[:, 1:] + 1], axis=1),
            hint=np.full(number, script[0, 1], dtype=np.int64),
            rune=np.repeat(kind[None], number, axis=0),
        )

    def view(self, state: EpisodeState, row: int) -> render.View:
        """Returns what a picture of one episode shows; lamps are the kinds of runes."""
        hint, *runes = observed_cue(state.cues, state.time)[row]
        told = f"hint seen: {('none', 'up', 'down')[int(hint)]}"
        if any(runes):
            told = f"rune seen: {RUNES[np.argmax(runes)]}"
        widest = max(self.length_range[1], len(RUNES) - 1)  # room for the lamps
        lamps = (np.array(runes) > 0,)
        return render.view(state, row, widest, told, arrow=int(hint), lamps=lamps)

    def finite_task(self) -> FiniteTask:
        """All episodes, of any corridor length and with any number of runes.

        The time limit is the strict one, so every step must be correct.
        """
        number: dict[_Situation | None, int] = {None: END, _BEGIN: 0}
        situations, edges = [_BEGIN], []
        for here in situations:
            for cue, rune, flag, action, after in self._steps(here):
                if after not in number:
                    number[after] = len(situations)
                    situations.append(after)
                edges.append((number[here], cue, rune, flag, action, number[after]))
        edges, noise, spread = self.with_noise(np.array(edges))
        source, cue, rune, flag, action, target = edges.T
        return FiniteTask(
            start=np.array([0]),
            source=source,
            observation=rule.compose_observation(
                np.zeros_like(cue), _shown(cue, rune), flag, noise
            ),
            correct=np.eye(rule.NUM_ACTIONS, dtype=np.bool_)[action],
            target=target,
            entries=self.entries,
            spread=spread,
        )

    def _steps(self, here: "_Situation") -> Iterator[tuple]:
        """Yields hint, rune and flag that may be seen, the correct action, and what follows."""
        if here.cue is None:
            for hint in (-1, 1):
                yield hint, NO_RUNE, 0, rule.RIGHT, self._situation(HiddenCue.of_hint(hint), 1)
            return
        value = int(here.cue.value)
        hint = value if here.steps < self.hint_steps else 0
        yield hint, NO_RUNE, 0, rule.RIGHT, self._situation(here.cue, here.steps + 1)
        if here.steps >= self.hint_steps and self.runes:
            for rune in self._kinds.tolist():
                after = self._situation(here.cue.after(rune), here.steps + 1)
                yield 0, rune, 0, rule.RIGHT, after
        yield hint, NO_RUNE, 1, rule.UP if value > 0 else rule.DOWN, None

    def _situation(self, cue: HiddenCue, steps: int) -> "_Situation":
        """Of a hidden cue and the steps since the begin, what matters to the runes there may be."""
        matters = HiddenCue(
            hint=int(cue.hint) if RESET in self._kinds else 0,
            value=int(cue.value),
            before=int(cue.before) if CANCEL in self._kinds else 0,
            update=int(cue.update) if REPEAT in self._kinds else NO_RUNE,
        )
        return _Situation(matters, min(steps, self.hint_steps))


class _Situation(NamedTuple):
    """A hidden cue, None at the begin, and the steps taken as far as they show the hint."""

    cue: HiddenCue | None
    steps: int


_BEGIN = _Situation(None, 0)


def _schedule(
    begin: NDArray[np.int64], end: NDArray[np.int64], hint: NDArray, rune: NDArray[np.int64]
) -> CueSchedule:
    """Returns a hint (N,) and the runes after it (N, K) as cues: each says what counts from then.

    Args:
        begin: When the hint and each rune begin (N, 1 + K).
        end: When they end (N, 1 + K).
        hint: +1 up or -1 down.
        rune: Places in `RUNES`; -1 is none.
    """
    cue = HiddenCue.of_hint(hint)
    value = [cue.value]
    for each in rune.T:
        cue = cue.after(each)
        value.append(cue.value)
    shown = np.where(np.arange(begin.shape[1]) == 0, hint[:, None], 0)
    rune = np.concatenate([np.full_like(begin[:, :1], NO_RUNE), rune], axis=1)
    return CueSchedule(begin, end, np.stack(value, axis=1), shows=_shown(shown, rune))


def _shown(hint: NDArray[np.int64], rune: NDArray[np.int64]) -> NDArray[np.float32]:
    """What an observation holds of a hint, or 0, and a rune, or -1; (..., 1 + kinds)."""
    kinds = rune[..., None] == np.arange(len(RUNES))
    return np.concatenate([hint[..., None], kinds], axis=-1).astype(np.float32)


class TMazeRuneEnv(TMazeEnv):
    """The rune T-Maze as a `gymnasium.Env`; options are those of `RuneTMaze`.

    Observations are [y, hint or 0, a flag for each kind of rune, at-junction flag, noise]
    (float32); actions are 0 right, 1 up, 2 left, 3 down. An episode ends with a turn at the
    junction or when its time is up; then ``info["success"]`` tells whether the turn was correct.
    """

    task_class = RuneTMaze


class TMazeRuneVectorEnv(TMazeVectorEnv):
    """N rune T-Mazes; see `TMazeVectorEnv`."""

    task_class = RuneTMaze
