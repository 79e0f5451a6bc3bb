"""The passive T-Maze: the hint is given, and perhaps corrected, whatever the agent does.

After Ni et al. 2023, "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment".
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, render, rule
from rllib_elmur.envs.adapters import TMazeEnv, TMazeVectorEnv
from rllib_elmur.envs.cues import CueSchedule, observed_cue
from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.envs.random_numbers import random_integers
from rllib_elmur.envs.rule import COUNTERS_PER_STEP, EpisodeState, Outcome
from rllib_elmur.envs.task import TMaze

_DRAW_HINT, _DRAW_NUMBER = 1, 0
_DRAW_TIME, _DRAW_VALUE = 1, 2  # of correction k, after counter k * COUNTERS_PER_STEP
_ENTRIES = ("y", "hint", "junction", "noise")


@dataclass(frozen=True)
class PassiveTMaze(TMaze):
    """The passive T-Maze; options are these and those of `TMaze`.

    Attributes:
        corrections: At most so many corrections, each a cue in one observation of the corridor
            that is drawn afresh; the last one counts. Their number and times are drawn, too.

    Raises:
        ValueError: If an option has a value that is not allowed.
    """

    corrections: int = 0

    _after_junction: ClassVar[int] = END

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("corrections", self.corrections, low=0)

    @cached_property
    def observation_space(self) -> gymnasium.spaces.Box:
        """The space of [y, hint or 0, at-junction flag, noise]."""
        return gymnasium.spaces.Box(
            low=np.array([-1, -1, 0, -1], dtype=np.float32),
            high=np.array([1, 1, 1, 1], dtype=np.float32),
        )

    @cached_property
    def action_space(self) -> gymnasium.spaces.Discrete:
        """0 right, 1 up, 2 left, 3 down."""
        return gymnasium.spaces.Discrete(rule.NUM_ACTIONS)

    @property
    def _shortest_corridor(self) -> int:
        """The shortest corridor of the finite description."""
        return 1

    def start(
        self, seed: NDArray[np.uint64], script: NDArray[np.float32] | None = None
    ) -> EpisodeState:
        """Starts N episodes; see `TMaze.start`."""
        zero = np.zeros(len(seed), dtype=np.int64)
        if script is None:
            script = np.empty((0, len(_ENTRIES)), dtype=np.float32)
        return self._corridor(seed, zero, zero + 1, script, seed)

    def _corridor(
        self,
        seed: NDArray[np.uint64],
        begin: NDArray[np.int64],
        junctions: NDArray[np.int64],
        script: NDArray[np.float32],
        draw: NDArray[np.uint64],
    ) -> EpisodeState:
        """N episodes at the begin of a corridor, which `draw` (N,) or the script decides."""
        length = self.draw_length(draw, begin, script)
        cues = _scripted_cues(script, begin) if len(script) else self._cues(draw, begin, length)
        return self.corridor(seed, begin, length, junctions, cues, script)

    def _cues(
        self, draw: NDArray[np.uint64], begin: NDArray[np.int64], length: NDArray[np.int64]
    ) -> CueSchedule:
        """The hint at a corridor's begin, and its corrections."""
        zero, begin = np.zeros_like(begin), begin[:, None]
        value = 2 * random_integers(draw, zero + _DRAW_HINT, 0, 1)[:, None] - 1  # (N, 1)
        end = begin + self.hint_steps
        if self.corrections:
            steps = (length[:, None] - self.hint_steps).clip(min=0)  # in which one can come
            counter = np.arange(1, self.corrections + 1) * COUNTERS_PER_STEP + 0 * begin
            number = random_integers(draw, zero + _DRAW_NUMBER, 0, self.corrections)[:, None]
            seeds = np.repeat(draw[:, None], self.corrections, axis=1)
            at = random_integers(seeds, counter + _DRAW_TIME, 0, (steps - 1).clip(min=0))
            unused = (np.arange(self.corrections) >= number) | (steps == 0)
            at = np.sort(np.where(unused, steps, at), axis=1)
            # Of two corrections at one time there is only one.
            given = (at < steps) & (np.diff(at, axis=1, prepend=-1) > 0)
            corrected = given * (2 * random_integers(seeds, counter + _DRAW_VALUE, 0, 1) - 1)
            value = np.concatenate([value, corrected], axis=1)
            begin = np.concatenate([begin, end + at], axis=1)
            end = np.concatenate([end, end + at + given], axis=1)
        return CueSchedule(begin, end, value, shows=value[:, :, None].astype(np.float32))

    def step(self, state: EpisodeState, action: NDArray[np.integer]) -> Outcome:
        """Moves every agent once; see `rule.step`."""
        return rule.step(state, action, self.goal_reward, self.penalty_rule)

    def observe(self, state: EpisodeState) -> NDArray[np.float32]:
        """Returns the observations [y, hint or 0, at-junction flag, noise] (N, 4)."""
        return rule.observe(state)

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
        noise = np.arange(-1, 2)
        source, cue, flag, action, target = np.repeat(edges, len(noise), axis=0).T
        return FiniteTask(
            start=np.array([0]),
            source=source,
            observation=rule.compose_observation(
                np.zeros_like(cue), cue[:, None], flag, np.tile(noise, len(edges))
            ),
            correct=np.eye(rule.NUM_ACTIONS, dtype=np.bool_)[action],
            target=target,
            entries=_ENTRIES,
        )


def _scripted_cues(script: NDArray[np.float32], begin: NDArray[np.int64]) -> CueSchedule:
    """All cues of a script (S, 4), for N episodes."""
    at = np.repeat(np.flatnonzero(script[:, 1])[None], len(begin), axis=0)
    shown = script[at, 1:-2]
    return CueSchedule(at, at + 1, value=shown[..., 0].astype(np.int64), shows=shown)


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
