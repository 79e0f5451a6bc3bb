"""The passive T-Maze: the hint is given, and perhaps corrected, whatever the agent does.

After Ni et al. 2023, "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment".
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, rule
from rllib_elmur.envs.cues import CueSchedule
from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.envs.random_numbers import random_integers
from rllib_elmur.envs.rule import COUNTERS_PER_STEP, Outcome, State

_DRAW_HINT, _DRAW_LENGTH, _DRAW_NUMBER = 1, 2, 0
_DRAW_TIME, _DRAW_VALUE = 1, 2  # of correction k, after counter k * COUNTERS_PER_STEP

Task = TypeVar("Task", bound="PassiveTMaze")


@dataclass(frozen=True)
class PassiveTMaze:
    """The task, apart from any environment class: how an episode starts, goes on and is observed.

    Attributes:
        corridor_length: Number of steps from the start to the junction, or a range (low, high)
            from which it is drawn at each reset.
        hint_steps: Number of observations, from the first one on, that show the hint.
        corrections: At most so many corrections, each a cue in one observation of the corridor
            that is drawn afresh; the last one counts. Their number and times are drawn, too.
        goal_reward: Reward of turning the way the hint said.
        penalty: Reward of a step charged by `penalty_rule`, at most 0. None: -1 / corridor length.
        penalty_rule: "behind_schedule" charges every step that leaves the agent behind one that
            has only walked right, the rule of the literature; "standing_still" only steps that do
            not bring the agent closer to the junction.
        slack: The episode ends after ``round(slack * corridor_length) + 1`` steps; 1 leaves no step
            to spare.

    Raises:
        ValueError: If an option has a value that is not allowed.
    """

    corridor_length: int | tuple[int, int] = 10
    hint_steps: int = 1
    corrections: int = 0
    goal_reward: float = 1.0
    penalty: float | None = None
    penalty_rule: rule.PenaltyRule = "behind_schedule"
    slack: float = 1.0

    observation_space: ClassVar = gymnasium.spaces.Box(
        low=np.array([-1, -1, 0, -1], dtype=np.float32),
        high=np.array([1, 1, 1, 1], dtype=np.float32),
    )
    _after_junction: ClassVar[int] = END
    action_space: ClassVar = gymnasium.spaces.Discrete(rule.NUM_ACTIONS)

    def __post_init__(self) -> None:
        length = checks.integer_or_range("corridor_length", self.corridor_length, low=1)
        object.__setattr__(self, "corridor_length", length)
        checks.integer("hint_steps", self.hint_steps, low=1)
        checks.integer("corrections", self.corrections, low=0)
        checks.number("goal_reward", self.goal_reward, above=0)
        if self.penalty is not None:
            checks.number("penalty", self.penalty, high=0)
        checks.choice("penalty_rule", self.penalty_rule, ("behind_schedule", "standing_still"))
        checks.number("slack", self.slack, low=1, high=1_000_000)

    @classmethod
    def from_options(cls: type[Task], options: dict[str, Any]) -> Task:
        """Builds the task from the options of an environment.

        Args:
            options: Option names and values, such as an RLlib config's `env_config`.

        Returns:
            The task.

        Raises:
            ValueError: If an option is unknown or its value is not allowed.
        """
        checks.known_options(options, [field.name for field in fields(cls)] + ["render_mode"])
        return cls(**options)

    @property
    def longest_corridor(self) -> int:
        """The largest corridor length that can be drawn."""
        return self._length_range[1]

    @property
    def _shortest_corridor(self) -> int:
        """The shortest corridor of the finite description."""
        return 1

    @property
    def _length_range(self) -> tuple[int, int]:
        length = self.corridor_length
        return length if isinstance(length, tuple) else (length, length)

    def start(self, seed: NDArray[np.uint64], script: NDArray[np.float32] | None = None) -> State:
        """Starts N episodes.

        Args:
            seed: Seed of each episode (N,), which decides everything that is random in it.
            script: Observations that the first S time steps show to an agent that acts right,
                (S, 4): they decide in place of the seed.

        Returns:
            The states at time 0.
        """
        zero = np.zeros(len(seed), dtype=np.int64)
        if script is None:
            script = np.empty((0, *self.observation_space.shape), dtype=np.float32)
        return self._corridor(seed, zero, zero + 1, script, seed)

    def _corridor(
        self,
        seed: NDArray[np.uint64],
        begin: NDArray[np.int64],
        junctions: NDArray[np.int64],
        script: NDArray[np.float32],
        draw: NDArray[np.uint64],
    ) -> State:
        """N episodes at the begin of a corridor, which `draw` (N,) or the script decides."""
        zero = np.zeros_like(begin)
        if len(script):
            length, cues = _scripted(script, begin)
        else:
            length = random_integers(draw, zero + _DRAW_LENGTH, *self._length_range)
            cues = self._cues(draw, begin, length)
        return State(
            seed=seed,
            time=begin,
            x=zero,
            y=zero,
            begin=begin,
            corridor_length=length,
            time_limit=begin + np.rint(self.slack * length).astype(np.int64) + 1,
            junctions=junctions,
            penalty=np.float64(-1.0) / length
            if self.penalty is None
            else np.full(len(seed), self.penalty, dtype=np.float64),
            cues=cues,
            script=script,
        )

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

    def step(self, state: State, action: NDArray[np.integer]) -> Outcome:
        """Moves every agent once; see `rule.step`."""
        return rule.step(state, action, self.goal_reward, self.penalty_rule)

    def observe(self, state: State) -> NDArray[np.float32]:
        """Returns the observations [y, hint or 0, at-junction flag, noise] (N, 4)."""
        return rule.observe(state)

    def finite_task(self) -> FiniteTask:
        """All episodes, of any corridor length and with any number of corrections.

        The time limit is the strict one, so every step must be right.
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
            entries=("y", "hint", "junction", "noise"),
        )


def _scripted(
    script: NDArray[np.float32], begin: NDArray[np.int64]
) -> tuple[NDArray[np.int64], CueSchedule]:
    """Length of the corridor that begins in a script (S, 4), and all cues of the script."""
    rest = script[begin[0] :]
    junctions = np.flatnonzero(rest[:, -2])
    length = junctions[0] if len(junctions) else len(rest)
    at = np.repeat(np.flatnonzero(script[:, 1])[None], len(begin), axis=0)
    shown = script[at, 1:-2]
    return np.full_like(begin, length), CueSchedule(
        at, at + 1, value=shown[..., 0].astype(np.int64), shows=shown
    )
