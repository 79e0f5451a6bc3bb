"""The T-Maze of several cues: each junction asks for one of them, so index and value must be bound.

All cues are shown before the first question, and no question can be foreseen: whoever remembers the
values alone, and not the index of each, can only guess.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, render, rule
from rllib_elmur.envs.adapters import TMazeEnv, TMazeVectorEnv
from rllib_elmur.envs.cues import CueSchedule
from rllib_elmur.envs.finite import FiniteTask
from rllib_elmur.envs.multi_cue_finite import finite_task
from rllib_elmur.envs.random_numbers import random_bits, random_integers
from rllib_elmur.envs.rule import COUNTERS_PER_STEP, EpisodeState, Outcome
from rllib_elmur.envs.task import TMaze

_MAX_CUES = 32
_LATER = np.iinfo(np.int64).max
_DRAW_VALUE, _DRAW_SHOWN, _DRAW_ASKED = 1, 2, 3  # of cue i, after counter i * COUNTERS_PER_STEP
_DRAW_CORRIDOR = 3  # of the time at which the corridor is entered, when all cues have been shown


@dataclass(frozen=True)
class MultiCueTMaze(TMaze):
    """Cues with an index and a value, and a junction for each that asks for the value.

    At first the agent stands at x = 0 whatever it does, nothing is charged, and all cues are shown
    in random order, one after the other, each in `hint_steps` observations. Then come corridors,
    one for each cue, which may have length 0: then one question follows the other. The junction at
    a corridor's end shows the index of a cue, in another random order, and has an arm for each
    value. The correct arm pays ``goal_reward / cues``; a wrong arm, or none before the corridor's
    time is up, pays nothing. Both lead on to the next corridor, and the episode ends after the
    last one: its length says nothing about its success, which is the share of correct answers.

    Options are these and those of `TMaze`. `corridor_length` may be 0, `goal_reward` is the sum for
    an episode in which all answers are correct, and `penalty` None is -1 / (corridor length + 1) /
    cues.

    Attributes:
        cues: Number of cues, and of junctions that ask for them; 1 to 32.
        values: Number of values that a cue may have, and of arms of a junction; 2 to 32.

    Raises:
        ValueError: If an option has a value that is not allowed.
    """

    cues: int = 4
    values: int = 2

    _least_length: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("cues", self.cues, low=1, high=_MAX_CUES)
        checks.integer("values", self.values, low=2, high=rule.MAX_ARMS)

    @cached_property
    def observation_space(self) -> gymnasium.spaces.Box:
        """The space of what `observe` returns."""
        low = np.zeros(len(self.entries), dtype=np.float32)
        low[-1] = -1  # the noise
        return gymnasium.spaces.Box(low=low, high=np.ones_like(low))

    @cached_property
    def action_space(self) -> gymnasium.spaces.Discrete:
        """0 right, 1 up (value 0), 2 left, 3 down (value 1), and v + 2 for each further value v."""
        return gymnasium.spaces.Discrete(rule.NUM_ACTIONS - 2 + self.values)

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """The actions that take the arms of the values (V,)."""
        return np.array([rule.UP, rule.DOWN, *range(rule.NUM_ACTIONS, self.action_space.n)])

    @property
    def entries(self) -> tuple[str, ...]:
        """What the entries of an observation are called."""
        index = (f"index {i}" for i in range(self.cues))
        value = (f"value {v}" for v in range(self.values))
        return (*index, *value, "junction", "noise")

    def start(
        self, seed: NDArray[np.uint64], script: NDArray[np.float32] | None = None
    ) -> EpisodeState:
        """Starts N episodes; see `TMaze.start`."""
        zero = np.zeros(len(seed), dtype=np.int64)
        if script is None:
            script = np.empty((0, len(self.entries)), dtype=np.float32)
        begin = zero + self.cues * self.hint_steps
        length = self.draw_length(_corridor_seeds(seed, begin), begin, script)
        cues = self._schedule(seed, script)
        return self.corridor(seed, begin, length, zero + self.cues, cues, script)._replace(
            time=zero
        )

    def _schedule(self, seed: NDArray[np.uint64], script: NDArray[np.float32]) -> CueSchedule:
        """Returns k cues, and after them k questions that count from their corridors' begin.

        No time shows a question: a place does, the junction (see `observe`). The cues say nothing
        of the correct arm, the question of the corridor does.
        """
        number, k = len(seed), self.cues
        counter = np.arange(k)[None] * COUNTERS_PER_STEP
        value = random_integers(seed[:, None], counter + _DRAW_VALUE, 0, self.values - 1)
        shown = random_bits(seed[:, None], counter + _DRAW_SHOWN).argsort(axis=1)
        asked = random_bits(seed[:, None], counter + _DRAW_ASKED).argsort(axis=1)
        if len(script):
            self._follow(script, value, shown, asked)

        begin = np.full((number, 2 * k), _LATER)
        begin[:, : k + 1] = np.arange(k + 1) * self.hint_steps
        end = begin.copy()
        end[:, :k] += self.hint_steps
        says = np.zeros((number, 2 * k), dtype=np.int64)
        arms = rule.ARM_OF_ACTION[self.answers]
        says[:, k:] = arms[np.take_along_axis(value, asked, axis=1)]
        shows = np.zeros((number, 2 * k, k + self.values), dtype=np.float32)
        shows[:, :k, :k] = np.eye(k)[shown]
        shows[:, :k, k:] = np.eye(self.values)[np.take_along_axis(value, shown, axis=1)]
        shows[:, k:, :k] = np.eye(k)[asked]
        return CueSchedule(begin, end, says, shows)

    def _follow(self, script: NDArray[np.float32], value: Any, shown: Any, asked: Any) -> None:
        """Changes values and orders (N, k) into those that a script shows, as far as it goes."""
        index, values = script[:, : self.cues], script[:, self.cues : -2]
        told = np.flatnonzero(values.any(axis=1))[:: self.hint_steps]
        value[:, index[told].argmax(axis=1)] = values[told].argmax(axis=1)
        for order, at in ((shown, told), (asked, np.flatnonzero(script[:, -2]))):
            first = index[at].argmax(axis=1)
            order[:] = [*first, *np.setdiff1d(np.arange(self.cues), first)]

    def step(self, state: EpisodeState, action: NDArray[np.integer]) -> Outcome:
        """Moves every agent once; those that leave a junction stand in their next corridor."""
        reward_of_one = self.goal_reward / self.cues
        state, reward, ended, _ = rule.step(state, action, reward_of_one, self.penalty_rule)
        rows = np.flatnonzero(ended & (state.junctions > 1))
        if len(rows):
            ended[rows] = False
            state = rule.replace_episodes(state, rows, self._next_corridor(state, rows))
        return Outcome(state, reward, ended, np.where(ended, state.correct_turns / self.cues, 0.0))

    def _next_corridor(self, state: EpisodeState, rows: NDArray[np.integer]) -> EpisodeState:
        """Returns the episodes of these rows at the begin of their next corridor."""
        seed, time, left = state.seed[rows], state.time[rows], state.junctions[rows] - 1
        begin, end = state.cues.begin[rows], state.cues.end[rows]  # copies
        question = np.arange(len(rows)), 2 * self.cues - left
        begin[question] = end[question] = time
        cues = CueSchedule(begin, end, state.cues.value[rows], state.cues.shows[rows])
        length = self.draw_length(_corridor_seeds(seed, time), time, state.script)
        fresh = self.corridor(seed, time, length, left, cues, state.script)
        return fresh._replace(correct_turns=state.correct_turns[rows])

    def _default_penalty(self, length: NDArray[np.int64]) -> NDArray[np.float64]:
        return -1.0 / ((length + 1.0) * self.cues)

    def observe(self, state: EpisodeState) -> NDArray[np.float32]:
        """Returns the observations (N, cues + values + 2).

        They are [index, value, at-junction flag, noise]. Index and value are one-hot, or all 0
        while there is none. An index with a value is a cue; an index alone, at a junction, is a
        question.
        """
        seen = rule.observe(state, self.noise_bound)
        question = state.cues.shows[np.arange(len(seen)), 2 * self.cues - state.junctions]
        seen[:, 1:-2] += question * seen[:, -2:-1]
        return seen[:, 1:].copy()  # y is 0 wherever there is an action to choose

    def view(self, state: EpisodeState, row: int) -> render.View:
        """Returns what a picture of one episode shows; lamps are index and value."""
        seen = self.observe(state)[row]
        index, value = seen[: self.cues] > 0, seen[self.cues : -2] > 0
        names = ["up", "down"] if self.values == 2 else [f"value {v}" for v in range(self.values)]
        arms = rule.ARM_OF_ACTION[self.answers].tolist()
        told, arrow = "no cue", 0
        if value.any():
            told = f"cue {index.argmax()}: {names[value.argmax()]}"
            arrow = 1 if arms[value.argmax()] > 0 else -1
        elif index.any():
            told = f"cue {index.argmax()}?"
        widest = max(self.length_range[1], self.cues - 1, self.values - 1)  # room for the lamps
        return render.view(state, row, widest, told, arrow, arms, lamps=(index, value))

    def finite_task(self) -> FiniteTask:
        """Returns all episodes, with corridors of the lengths that can be drawn, or longer.

        Without corridors, that is with a `corridor_length` of 0, there are no longer ones.

        Raises:
            ValueError: If there are too many cues and values to list every situation.
        """
        return finite_task(self)


def _corridor_seeds(seed: NDArray[np.uint64], begin: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns the seeds (N,) of the corridors that N episodes enter at these times."""
    return random_bits(seed, begin * COUNTERS_PER_STEP + _DRAW_CORRIDOR)


class TMazeMultiCueEnv(TMazeEnv):
    """The T-Maze of several cues as a `gymnasium.Env`; options are those of `MultiCueTMaze`.

    Observations are [index, value, at-junction flag, noise] (float32), index and value one-hot or
    all 0. Actions are 0 right, 1 up (the answer for value 0), 2 left, 3 down
    (value 1), and v + 2 for each further value v. ``info["success"]`` of the last step is the share
    of correct answers.
    """

    task_class = MultiCueTMaze


class TMazeMultiCueVectorEnv(TMazeVectorEnv):
    """N T-Mazes of several cues; see `TMazeVectorEnv`."""

    task_class = MultiCueTMaze
