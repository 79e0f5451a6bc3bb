"""Plays episodes side by side, until they end or are left."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass
class EpisodeResults:
    """Figures of episodes that have ended, and of others so far, (N,).

    Attributes:
        returns: Sums of rewards.
        lengths: Numbers of steps.
        ended: Which of them have ended.
        success: Whether the environment called each a success; None if it says nothing about it.
        agents: Of several agents, the return of each in each episode, by its id and its module's.
        interrupted: Whether Ctrl-C ended the play.
    """

    returns: np.ndarray
    lengths: np.ndarray
    ended: np.ndarray
    success: np.ndarray | None = None
    agents: list[dict[tuple[Any, str], float]] = field(default_factory=list)
    interrupted: bool = False

    def note_success(self, ended: Any, success: Any) -> None:
        """Notes what the environment says of episodes, by a number or a mask."""
        if self.success is None:
            self.success = np.zeros(len(self.ended))
        self.success[ended] = success


@dataclass(frozen=True)
class Bounds:
    """Where a play ends though episodes go on.

    Attributes:
        episode_steps: Steps of an episode.
        steps: Steps of all episodes together; None: as many as they take.
    """

    episode_steps: int
    steps: int | None = None

    def reached(self, lengths: np.ndarray) -> bool:
        """Whether episodes of these lengths, (N,), go on no more."""
        longest, total = int(lengths.max()), int(lengths.sum())
        return longest >= self.episode_steps or (self.steps is not None and total >= self.steps)


class Game(Protocol):
    """Environments side by side, and the policies that play in them.

    Attributes:
        num_envs: N.
        metadata: What the environment says of itself, such as its render modes.
    """

    num_envs: int
    metadata: dict[str, Any]

    def require_spaces(self, where: str) -> None:
        """Raises a UserError, which begins with `where`, if they have other spaces."""
        ...

    def steps(self, seed: int, explore: bool, played: EpisodeResults) -> Iterator[np.ndarray]:
        """Begins N episodes, steps them for ever and adds to the figures.

        Yields which of them have ended: after the reset, and after each step.
        """
        ...

    def render(self) -> Any:
        """What the first environment shows."""
        ...

    def close(self) -> None:
        """Closes the environments."""
        ...


def play(
    game: Game,
    seed: int,
    bounds: Bounds,
    explore: bool = False,
    on_step: Callable[[int, np.ndarray], None] | None = None,
) -> EpisodeResults:
    """Plays one episode in each of N environments.

    Args:
        game: The environments; each contributes its first episode, so short ones count no more
            than long ones.
        seed: Environment i is reset with the seed `seed` + i.
        bounds: Where episodes are left that have not ended.
        explore: Whether actions are drawn; else they are the likeliest.
        on_step: Called with the number of steps, from 0 on, and a mask of the episodes still
            running.

    Raises:
        UserError: If a policy cannot act on what an environment returned.
    """
    num = game.num_envs
    played = EpisodeResults(np.zeros(num), np.zeros(num, np.int64), np.zeros(num, bool))
    try:
        for step, ended in enumerate(game.steps(seed, explore, played)):
            if on_step is not None:
                on_step(step, ~ended)
            if ended.all() or bounds.reached(played.lengths):
                break
    except KeyboardInterrupt:
        played.interrupted = True
    return played
