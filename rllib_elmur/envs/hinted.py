"""The T-Maze of one hint: what a task has whose hint at a corridor's begin may be changed later."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import rule
from rllib_elmur.envs.cues import CueSchedule
from rllib_elmur.envs.random_numbers import random_integers
from rllib_elmur.envs.rule import COUNTERS_PER_STEP, EpisodeState, Outcome
from rllib_elmur.envs.task import TMaze

_DRAW_HINT, _DRAW_NUMBER = 1, 0
_DRAW_TIME = 1  # of cue k after the hint, after counter k * COUNTERS_PER_STEP


@dataclass(frozen=True)
class HintedTMaze(TMaze):
    """A hint is shown at a corridor's begin, and perhaps other cues after it.

    Attributes:
        entries: What the entries of an observation are called: y, the hint, further cues, the
            at-junction flag and noise.
    """

    entries: ClassVar[tuple[str, ...]]

    @cached_property
    def observation_space(self) -> gymnasium.spaces.Box:
        """The space of what `observe` returns."""
        low = np.zeros(len(self.entries), dtype=np.float32)
        low[[0, 1, -1]] = -1  # y, hint and noise
        return gymnasium.spaces.Box(low=low, high=np.ones_like(low))

    @cached_property
    def action_space(self) -> gymnasium.spaces.Discrete:
        """0 right, 1 up, 2 left, 3 down."""
        return gymnasium.spaces.Discrete(rule.NUM_ACTIONS)

    def start(
        self, seed: NDArray[np.uint64], script: NDArray[np.float32] | None = None
    ) -> EpisodeState:
        """Starts N episodes; see `TMaze.start`."""
        zero = np.zeros(len(seed), dtype=np.int64)
        if script is None:
            script = np.empty((0, len(self.entries)), dtype=np.float32)
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
        if len(script):
            cues = self._scripted_cues(script, len(begin))
        else:
            cues = self._cues(draw, begin, length)
        return self.corridor(seed, begin, length, junctions, cues, script)

    @abstractmethod
    def _cues(
        self, draw: NDArray[np.uint64], begin: NDArray[np.int64], length: NDArray[np.int64]
    ) -> CueSchedule:
        """The hint of N corridors and what follows it."""

    @abstractmethod
    def _scripted_cues(self, script: NDArray[np.float32], number: int) -> CueSchedule:
        """All cues of a script (S, W), the same for so many episodes."""

    def _hint(self, draw: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The hint of N corridors (N,), +1 up or -1 down."""
        return 2 * random_integers(draw, np.zeros(len(draw), np.int64) + _DRAW_HINT, 0, 1) - 1

    def _drawn_times(
        self, draw: NDArray[np.uint64], length: NDArray[np.int64], most: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """When cues come after the hint: as a number of steps since its end, at most one a step.

        Returns:
            Steps in ascending order, and whether a cue is given then, both (N, most).
        """
        zero = np.zeros_like(length)
        steps = (length[:, None] - self.hint_steps).clip(min=0)  # in which one can come
        number = random_integers(draw, zero + _DRAW_NUMBER, 0, most)[:, None]
        at = random_integers(*counters(draw, most, _DRAW_TIME), low=0, high=(steps - 1).clip(min=0))
        unused = (np.arange(most) >= number) | (steps == 0)
        at = np.sort(np.where(unused, steps, at), axis=1)
        # Of two cues at one time there is only one.
        return at, (at < steps) & (np.diff(at, axis=1, prepend=-1) > 0)

    def step(self, state: EpisodeState, action: NDArray[np.integer]) -> Outcome:
        """Moves every agent once; see `rule.step`."""
        return rule.step(state, action, self.goal_reward, self.penalty_rule)

    def observe(self, state: EpisodeState) -> NDArray[np.float32]:
        """Returns the observations (N, W), whose parts `entries` names."""
        return rule.observe(state, self.noise_bound)


def counters(
    draw: NDArray[np.uint64], most: int, which: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Returns seeds and counters (N, most) of one of the draws of each cue after the hint."""
    counter = np.arange(1, most + 1) * COUNTERS_PER_STEP + which
    return np.repeat(draw[:, None], most, axis=1), np.repeat(counter[None], len(draw), axis=0)
