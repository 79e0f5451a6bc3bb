"""The figures of a row of an evaluation, from the episodes that were played."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
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
        agent_episode_returns_mean: RLlib's metric of that name, of the episodes that have ended:
            by agent, where there are several.
        module_episode_returns_mean: Likewise by the policy's module; its agents add up.
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
    agent_episode_returns_mean: dict[str, float] = field(default_factory=dict)
    module_episode_returns_mean: dict[str, float] = field(default_factory=dict)


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
    agents = [of_episode for p in rounds for of_episode in p.agents]
    return EpisodeResults(returns, lengths, ended, success, agents)


def row_of(
    name: str, swept: dict[str, Any], played: EpisodeResults, goal: int | None, seconds: float
) -> Row:
    """The row of what was played, of which the first `goal` episodes count."""
    counted = np.arange(len(played.ended)) < (goal or np.inf)
    ended, unfinished = played.ended & counted, ~played.ended & counted & (played.lengths > 0)

    agents = [
        of_episode for of_episode, is_over in zip(played.agents, ended, strict=False) if is_over
    ]

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
        agent_episode_returns_mean=_means_by(0, agents),
        module_episode_returns_mean=_means_by(1, agents),
    )


def _means_by(part: int, episodes: Iterable[dict[tuple[Any, str], float]]) -> dict[str, float]:
    """The mean over episodes of the returns of each agent (0) or module (1) that is in them."""
    found: dict[str, list[float]] = defaultdict(list)
    for returns in episodes:
        sums: dict[str, float] = defaultdict(float)
        for key, value in returns.items():
            sums[str(key[part])] += value
        for name, total in sums.items():
            found[name].append(total)
    return {name: float(np.mean(totals)) for name, totals in sorted(found.items())}
