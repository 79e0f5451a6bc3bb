"""The passive T-Maze: the hint is given at the start, whatever the agent does.

After Ni et al. 2023, "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment".
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, rule
from rllib_elmur.envs.cues import CueSchedule
from rllib_elmur.envs.random_numbers import random_integers
from rllib_elmur.envs.rule import Outcome, State

_DRAW_HINT, _DRAW_LENGTH = 1, 2


@dataclass(frozen=True)
class PassiveTMaze:
    """The task, apart from any environment class: how an episode starts, goes on and is observed.

    Attributes:
        corridor_length: Number of steps from the start to the junction, or a range (low, high)
            from which it is drawn at each reset.
        hint_steps: Number of observations, from the first one on, that show the hint.
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
    goal_reward: float = 1.0
    penalty: float | None = None
    penalty_rule: rule.PenaltyRule = "behind_schedule"
    slack: float = 1.0

    observation_space: ClassVar = gymnasium.spaces.Box(
        low=np.array([-1, -1, 0, -1], dtype=np.float32),
        high=np.array([1, 1, 1, 1], dtype=np.float32),
    )
    action_space: ClassVar = gymnasium.spaces.Discrete(rule.NUM_ACTIONS)

    def __post_init__(self) -> None:
        length = checks.integer_or_range("corridor_length", self.corridor_length, low=1)
        object.__setattr__(self, "corridor_length", length)
        checks.integer("hint_steps", self.hint_steps, low=1)
        checks.number("goal_reward", self.goal_reward, above=0)
        if self.penalty is not None:
            checks.number("penalty", self.penalty, high=0)
        checks.choice("penalty_rule", self.penalty_rule, ("behind_schedule", "standing_still"))
        checks.number("slack", self.slack, low=1, high=1_000_000)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "PassiveTMaze":
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
    def _length_range(self) -> tuple[int, int]:
        length = self.corridor_length
        return length if isinstance(length, tuple) else (length, length)

    def start(self, seed: NDArray[np.uint64]) -> State:
        """Starts N episodes.

        Args:
            seed: Seed of each episode (N,), which decides everything that is random in it.

        Returns:
            The states at time 0.
        """
        zero = np.zeros(len(seed), dtype=np.int64)
        hint = 2 * random_integers(seed, zero + _DRAW_HINT, 0, 1) - 1
        length = random_integers(seed, zero + _DRAW_LENGTH, *self._length_range)
        return State(
            seed=seed,
            time=zero,
            x=zero,
            y=zero,
            corridor_length=length,
            time_limit=np.rint(self.slack * length).astype(np.int64) + 1,
            penalty=np.float64(-1.0) / length
            if self.penalty is None
            else np.full(len(seed), self.penalty, dtype=np.float64),
            cues=CueSchedule(
                begin=zero[:, None],
                end=zero[:, None] + self.hint_steps,
                value=hint[:, None],
                shows=hint[:, None, None].astype(np.float32),
            ),
        )

    def step(self, state: State, action: NDArray[np.integer]) -> Outcome:
        """Moves every agent once; see `rule.step`."""
        return rule.step(state, action, self.goal_reward, self.penalty_rule)

    def observe(self, state: State) -> NDArray[np.float32]:
        """Returns the observations [y, hint or 0, at-junction flag, noise] (N, 4)."""
        return rule.observe(state)
