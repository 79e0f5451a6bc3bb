"""The passive T-Maze: the hint is given, and perhaps corrected, whatever the agent does.

After Ni et al. 2023, "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment".
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, render, rule
from rllib_elmur.envs.adapters import TMazeEnv, TMazeVectorEnv
from rllib_elmur.envs.cues import CueSchedule, observed_cue
from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.envs.hinted import HintedTMaze, counters
from rllib_elmur.envs.random_numbers import random_integers
from rllib_elmur.envs.rule import EpisodeState

_DRAW_VALUE = 2  # of a correction; see `counters`


@dataclass(frozen=True)
class PassiveTMaze(HintedTMaze):
    """The passive T-Maze; options are these and those of `TMaze`.

    Attributes:
        corrections: At most so many corrections, each a cue in one observation of the corridor
            that is drawn afresh; the last one counts. Their number and times are drawn, too.

    Raises:
        ValueError: If an option has a value that is not allowed.
    """

    corrections: int = 0

    entries: ClassVar[tuple[str, ...]] = ("y", "hint", "junction", "noise")
    _after_junction: ClassVar[int] = END

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("corrections", self.corrections, low=0)

    @property
    def _shortest_corridor(self) -> int:
        """The shortest corridor of the finite description."""
        return 1

    def _cues(
        self, draw: NDArray[np.uint64], begin: NDArray[np.int64], length: NDArray[np.int64]
    ) -> CueSchedule:
        """The hint at a corridor's begin, and its corrections."""
        value, begin = self._hint(draw)[:, None], begin[:, None]  # (N, 1)
        end = begin + self.hint_steps
        if self.corrections:
            at, given = self._drawn_times(draw, length, self.corrections)
            drawn = random_integers(*counters(draw, self.corrections, _DRAW_VALUE), 0, 1)
            value = np.concatenate([value, given * (2 * drawn - 1)], axis=1)
            begin = np.concatenate([begin, end + at], axis=1)
            end = np.concatenate([end, end + at + given], axis=1)
        return CueSchedule(begin, end, value, shows=value[:, :, None].astype(np.float32))

    def _scripted_cues(self, script: NDArray[np.float32], number: int) -> CueSchedule:
        at = np.repeat(np.flatnonzero(script[:, 1])[None], number, axis=0)
        shown = script[at, 1:-2]
        return CueSchedule(at, at + 1, value=shown[..., 0].astype(np.int64), shows=shown)

    def view(self, state: EpisodeState, row: int) -> render.View:
        """Returns what a picture of one episode shows."""
        cue = int(observed_cue(state.cues, state.time)[row, 0])
        told = f"hint seen: {('none', 'up', 'down')[cue]}"
        return render.view(state, row, self.length_range[1], told, arrow=cue)

    def finite_task(self) -> FiniteTask:
        """All episodes, of any corridor length and with any number of corrections.

        The time limit is the strict one, so every step must be correct.
        """
        # Situations: 0 a corridor's begin; then which cue counts and how many steps are behind, as
        # far as that matters to what can be seen next.
        last = max(self.hint_steps, self._shortest_corridor)
        situation = {
            (hint, steps): (hint > 0) * last + steps
            for hint in (-1, 1)
            for steps in range(1, last + 1)
        }
        edges = []
        for hint in (-1, 1):
            edges.append((0, hint, 0, rule.RIGHT, situation[hint, 1]))
            for steps in range(1, last + 1):
                here, on = situation[hint, steps], min(steps + 1, last)
                cue = hint if steps < self.hint_steps else 0
                edges.append((here, cue, 0, rule.RIGHT, situation[hint, on]))
                if self.corrections and steps >= self.hint_steps:
                    edges += [(here, new, 0, rule.RIGHT, situation[new, on]) for new in (-1, 1)]
                if steps >= self._shortest_corridor:
                    turn = rule.UP if hint > 0 else rule.DOWN
                    edges.append((here, cue, 1, turn, self._after_junction))
        edges, noise, spread = self.with_noise(np.array(edges))
        source, cue, flag, action, target = edges.T
        return FiniteTask(
            start=np.array([0]),
            source=source,
            observation=rule.compose_observation(np.zeros_like(cue), cue[:, None], flag, noise),
            correct=np.eye(rule.NUM_ACTIONS, dtype=np.bool_)[action],
            target=target,
            entries=self.entries,
            spread=spread,
        )


class TMazePassiveEnv(TMazeEnv):
    """The passive T-Maze as a `gymnasium.Env`; options are those of `PassiveTMaze`.

    Observations are [y, hint or 0, at-junction flag, noise] (float32); actions are 0 right, 1 up,
    2 left, 3 down. An episode ends with a turn at the junction or when its time is up; then
    ``info["success"]`` tells whether the turn was correct.
    """

    task_class = PassiveTMaze


class TMazePassiveVectorEnv(TMazeVectorEnv):
    """N passive T-Mazes; see `TMazeVectorEnv`."""

    task_class = PassiveTMaze
