"""The endless T-Maze: corridor after corridor, each with a hint of its own.

After the 'Endless T-Maze' of the literature on rewriting memory (arXiv:2601.15086): what was
correct at the last junction must be forgotten.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, rule
from rllib_elmur.envs.adapters import TMazeEnv, TMazeVectorEnv
from rllib_elmur.envs.passive import PassiveTMaze
from rllib_elmur.envs.random_numbers import random_bits, random_integers
from rllib_elmur.envs.rule import COUNTERS_PER_STEP, EpisodeState, Outcome

_DRAW_JUNCTIONS = 3
_DRAW_CORRIDOR = 3  # of the time at which the corridor is entered, which is never 0


@dataclass(frozen=True)
class EndlessTMaze(PassiveTMaze):
    """The passive T-Maze, whose correct turns lead to the begin of the next corridor.

    A wrong turn, or running out of a corridor's time, ends the episode; success is to have taken
    the correct turn at all junctions, each of which pays `goal_reward`.

    Attributes:
        junctions: Number of junctions, or a range (low, high) from which it is drawn.

    Raises:
        ValueError: If an option has a value that is not allowed.
    """

    junctions: int | tuple[int, int] = 5

    _after_junction: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        junctions = checks.integer_or_range("junctions", self.junctions, low=1)
        object.__setattr__(self, "junctions", junctions)

    @property
    def _shortest_corridor(self) -> int:
        """Corridors of one episode are of the lengths that can be drawn, or longer."""
        return self.length_range[0]

    def start(
        self, seed: NDArray[np.uint64], script: NDArray[np.float32] | None = None
    ) -> EpisodeState:
        """Starts N episodes; see `TMaze.start`."""
        state = super().start(seed, script)
        if script is not None:
            number = np.full_like(state.time, 1 + int(script[:-1, -2].sum()))
        else:
            many = self.junctions if isinstance(self.junctions, tuple) else [self.junctions] * 2
            number = random_integers(seed, state.time + _DRAW_JUNCTIONS, *many)
        return state._replace(junctions=number)

    def step(self, state: EpisodeState, action: NDArray[np.integer]) -> Outcome:
        """Moves every agent once; those that turned correctly stand in their next corridor."""
        state, reward, ended, success = super().step(state, action)
        rows = np.flatnonzero(success & (state.junctions > 1))
        if len(rows):
            ended[rows] = success[rows] = False
            seed, time = state.seed[rows], state.time[rows]
            draw = random_bits(seed, time * COUNTERS_PER_STEP + _DRAW_CORRIDOR)
            fresh = self._corridor(seed, time, state.junctions[rows] - 1, state.script, draw)
            fresh = fresh._replace(correct_turns=state.correct_turns[rows])
            state = rule.replace_episodes(state, rows, fresh)
        return Outcome(state, reward, ended, success)


class TMazeEndlessEnv(TMazeEnv):
    """The endless T-Maze as a `gymnasium.Env`; options are those of `EndlessTMaze`.

    As `rllib_elmur.envs.TMazePassiveEnv`, but for what follows a correct turn: the next corridor,
    up to the last one.
    """

    task_class = EndlessTMaze


class TMazeEndlessVectorEnv(TMazeVectorEnv):
    """N endless T-Mazes; see `TMazeVectorEnv`."""

    task_class = EndlessTMaze
