"""What all T-Mazes have: options of a corridor, and the functions of a task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs import checks, rule
from rllib_elmur.envs.cues import CueSchedule
from rllib_elmur.envs.finite import FiniteTask
from rllib_elmur.envs.random_numbers import random_integers
from rllib_elmur.envs.render import View
from rllib_elmur.envs.rule import EpisodeState, Outcome

_DRAW_LENGTH = 2

Task = TypeVar("Task", bound="TMaze")


@dataclass(frozen=True)
class TMaze(ABC):
    """The task, apart from any environment class: how an episode starts, goes on and is observed.

    Attributes:
        corridor_length: Number of steps from a corridor's begin to its junction, or a range
            (low, high) from which it is drawn at each reset, and for each corridor anew.
        hint_steps: Number of observations that show a hint.
        goal_reward: Reward of turning the way the hint said.
        penalty: Reward of a step charged by `penalty_rule`, at most 0. None: -1 / corridor length.
        penalty_rule: "behind_schedule" charges every step that leaves the agent behind one that
            has only walked right, the rule of the literature; "standing_still" only steps that do
            not bring the agent closer to the junction.
        slack: The time of a corridor is up after ``round(slack * corridor_length) + 1`` steps; 1
            leaves no step to spare.
        noise_bound: The noise is a real number, drawn uniformly from [-noise_bound, noise_bound].
            None: it is -1, 0 or 1.

    Raises:
        ValueError: If an option has a value that is not allowed.
    """

    corridor_length: int | tuple[int, int] = 10
    hint_steps: int = 1
    goal_reward: float = 1.0
    penalty: float | None = None
    penalty_rule: rule.PenaltyRule = "behind_schedule"
    slack: float = 1.0
    noise_bound: float | None = None

    _least_length: ClassVar[int] = 1

    def __post_init__(self) -> None:
        length = checks.integer_or_range(
            "corridor_length", self.corridor_length, low=self._least_length
        )
        object.__setattr__(self, "corridor_length", length)
        checks.integer("hint_steps", self.hint_steps, low=1)
        checks.number("goal_reward", self.goal_reward, above=0)
        if self.penalty is not None:
            checks.number("penalty", self.penalty, high=0)
        checks.choice("penalty_rule", self.penalty_rule, ("behind_schedule", "standing_still"))
        checks.number("slack", self.slack, low=1, high=1_000_000)
        if self.noise_bound is not None:
            checks.number("noise_bound", self.noise_bound, above=0, high=1)

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
    @abstractmethod
    def observation_space(self) -> gymnasium.spaces.Box:
        """What `observe` returns for one episode: a vector of W numbers, float32."""

    @property
    @abstractmethod
    def action_space(self) -> gymnasium.spaces.Discrete:
        """What `step` takes for one episode: 0 right, 1 up, 2 left, 3 down, and further arms."""

    @abstractmethod
    def start(
        self, seed: NDArray[np.uint64], script: NDArray[np.float32] | None = None
    ) -> EpisodeState:
        """Starts N episodes.

        Args:
            seed: Seed of each episode (N,), which decides everything that is random in it.
            script: Observations that the first S time steps show to an agent that acts
                correctly, (S, W): they decide in place of the seed.

        Returns:
            The states at time 0.
        """

    @abstractmethod
    def step(self, state: EpisodeState, action: NDArray[np.integer]) -> Outcome:
        """Moves every agent once; see `rule.step`."""

    @abstractmethod
    def observe(self, state: EpisodeState) -> NDArray[np.float32]:
        """Returns the observations (N, W)."""

    @abstractmethod
    def view(self, state: EpisodeState, row: int) -> View:
        """Returns what a picture of one episode shows."""

    @abstractmethod
    def finite_task(self) -> FiniteTask:
        """Returns all that can be seen in an episode, and what is correct then."""

    @property
    def length_range(self) -> tuple[int, int]:
        """The smallest and the largest corridor length that can be drawn."""
        length = self.corridor_length
        return length if isinstance(length, tuple) else (length, length)

    def draw_length(
        self, draw: NDArray[np.uint64], begin: NDArray[np.int64], script: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Returns the lengths (N,) of corridors, which `draw` (N,) or the script decides.

        Args:
            draw: A seed for each corridor.
            begin: Time at which the corridors are entered (N,); one time if there is a script.
            script: That of the state; it may be over by then.
        """
        rest = script[begin[0] :]
        if len(rest):
            junctions = np.flatnonzero(rest[:, -2])
            return np.full_like(begin, junctions[0] if len(junctions) else len(rest))
        return random_integers(draw, np.full_like(begin, _DRAW_LENGTH), *self.length_range)

    def corridor(
        self,
        seed: NDArray[np.uint64],
        begin: NDArray[np.int64],
        length: NDArray[np.int64],
        junctions: NDArray[np.int64],
        cues: CueSchedule,
        script: NDArray[np.float32],
    ) -> EpisodeState:
        """Returns N episodes at the begin of a corridor; arguments as in `rule.EpisodeState`."""
        zero = np.zeros_like(begin)
        return EpisodeState(
            seed=seed,
            time=begin,
            x=zero,
            y=zero,
            begin=begin,
            corridor_length=length,
            time_limit=begin + np.rint(self.slack * length).astype(np.int64) + 1,
            junctions=junctions,
            correct_turns=zero,
            penalty=self._default_penalty(length)
            if self.penalty is None
            else np.full(len(seed), self.penalty, dtype=np.float64),
            cues=cues,
            script=script,
        )

    def with_noise(
        self, edges: NDArray[np.integer]
    ) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.float64] | None]:
        """Returns what a finite description has of its edges and of the noise in each.

        Args:
            edges: What leads from one situation to another but for the noise, (E, ...).

        Returns:
            The edges once for each noise that is told apart (N, ...), their noise (N,), and the
            spread of `FiniteTask`, if noise is a real number.
        """
        if self.noise_bound is None:
            noise = np.arange(-1, 2)
            return np.repeat(edges, len(noise), axis=0), np.tile(noise, len(edges)), None
        spread = np.zeros(self.observation_space.shape)
        spread[-1] = self.noise_bound
        return edges, np.zeros(len(edges), dtype=np.int64), spread

    def _default_penalty(self, length: NDArray[np.int64]) -> NDArray[np.float64]:
        """Charges an agent that never moves about one reward of the goal, however long its way."""
        return np.float64(-1.0) / length
