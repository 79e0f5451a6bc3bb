"""The figures of a row of an evaluation, from the episodes that were played."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_elmur.runs.play import EpisodeResults


@dataclass
class Row:
    """The figures of one checkpoint in one environment.

    Attributes:
        checkpoint: A short name of the checkpoint.
        swept: The environment options that are swept, with their values in this row.
        episodes: Number of episodes that have ended.
        success: Share of successful ones; None where the environment says nothing about it.
        episode_return: Mean return of those that have ended; None if none has.
        episode_length: Mean number of their steps.
        steps_per_second: Environment steps per second, all episodes together.
        unfinished: Number of episodes that were left before their end.
        unfinished_return: Mean return of these so far; None if there is none.
        unfinished_length: Mean number of their steps.
    """

    checkpoint: str
    swept: dict[str, Any]
    episodes: int
    success: float | None
    episode_return: float | None
    episode_length: float | None
    steps_per_second: float
    unfinished: int = 0
    unfinished_return: float | None = None
    unfinished_length: float | None = None


def count(rounds: list[EpisodeResults]) -> tuple[int, int]:
    """The number of episodes and of their steps."""
    return sum(len(p.lengths) for p in rounds), sum(int(p.lengths.sum()) for p in rounds)


def joined(rounds: list[EpisodeResults]) -> EpisodeResults:
    """The episodes of all rounds, one after the other."""
    success = None
    if any(p.success is not None for p in rounds):
        said = [np.zeros(len(p.ended)) if p.success is None else p.success for p in rounds]
        success = np.concatenate(said)
    returns, lengths, ended = (
        np.concatenate([getattr(p, name) for p in rounds])
        for name in ("returns", "lengths", "ended")
    )
    return EpisodeResults(returns, lengths, ended, success)


def row_of(
    name: str, swept: dict[str, Any], played: EpisodeResults, goal: int | None, seconds: float
) -> Row:
    """The row of what was played, of which the first `goal` episodes count."""
    counted = np.arange(len(played.ended)) < (goal or np.inf)
    ended, unfinished = played.ended & counted, ~played.ended & counted & (played.lengths > 0)

    def mean(values: np.ndarray, episodes: np.ndarray) -> float | None:
        return float(values[episodes].mean()) if episodes.any() else None

    return Row(
        checkpoint=name,
        swept=swept,
        episodes=int(ended.sum()),
        success=None if played.success is None else mean(played.success, ended),
        episode_return=mean(played.returns, ended),
        episode_length=mean(played.lengths, ended),
        steps_per_second=float(played.lengths.sum() / seconds),
        unfinished=int(unfinished.sum()),
        unfinished_return=mean(played.returns, unfinished),
        unfinished_length=mean(played.lengths, unfinished),
    )
