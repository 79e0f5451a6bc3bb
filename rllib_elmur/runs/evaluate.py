"""Evaluates checkpoints: a row of figures for each checkpoint and each swept value."""

import os
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from rllib_elmur.acting.agents import AgentPolicies
from rllib_elmur.acting.checkpoint import policy_of
from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.checkpoints import Checkpoint, environment_of
from rllib_elmur.plugin.process import one_thread, quiet
from rllib_elmur.runs.one_agent import OneAgent
from rllib_elmur.runs.options import EPISODES, EvaluateOptions
from rllib_elmur.runs.pictures import Videos, render_mode, require_writer, shown_by
from rllib_elmur.runs.play import Bounds, EpisodeResults, Game, play
from rllib_elmur.runs.rows import Row, count, joined, row_of
from rllib_elmur.runs.several_agents import SeveralAgents

_MOST_SIDE_BY_SIDE = 256
_STEPS_EACH = 1_000  # of each environment at least, where the number of steps is given
# The episodes of each seed of an evaluation are reset with a million seeds of their own.
_FIRST_SEED, _SEEDS_APART = 1_000_003, 1_000_000


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in an evaluation.

    Attributes:
        rows: What was played so far.
    """

    def __init__(self, rows: list[Row]):
        super().__init__()
        self.rows = rows


@dataclass(frozen=True)
class Moment:
    """How far the episodes of a row have come.

    Attributes:
        swept: As in the row.
        step: Steps that each running episode has taken.
        most: Steps after which they are left.
        ended: Number of episodes that have ended.
        episodes: Number of episodes to play; None if it depends on their lengths.
        frame: What an environment shows as text, if the episodes are rendered so.
    """

    swept: dict[str, Any]
    step: int
    most: int
    ended: int
    episodes: int | None
    frame: str | None = None


OnStep = Callable[[Moment], None]
MakeGame = Callable[[Any, dict[str, Any], int], Game]
"""Makes a game of an environment, its options and the number of episodes side by side."""


def evaluate(
    paths: Sequence[Path], options: EvaluateOptions | None = None, on_step: OnStep | None = None
) -> list[Row]:
    """Plays episodes with each checkpoint's policies, greedily unless told to explore.

    The environment's options are those of the training, overlaid by ``env_config`` of its
    `evaluation_config`, overlaid by the given ones.

    Args:
        paths: Checkpoints, or folders of results (their newest checkpoint).
        options: What is played, and how often.
        on_step: Called now and then, and at each step that is rendered.

    Returns:
        A row for each checkpoint and each combination of swept values.

    Raises:
        UserError: If a checkpoint or the environment cannot be used.
        Interrupted: At Ctrl-C, with the rows so far.
    """
    options = options or EvaluateOptions()
    if options.video is not None:
        if options.render:
            raise UserError("--render and --video: an environment shows itself in one way; choose.")
        require_writer()
    rows: list[Row] = []
    with quiet(), one_thread(), _keeping(rows):
        for path, name in zip(paths, _short_names(paths), strict=True):
            _seed_all(options.seed)
            checkpoint, make_game = _loaded(path, options.seed)
            base = {} if options.env else checkpoint.env_config
            for swept, given in _combinations(options):
                env = options.env or environment_of(checkpoint)
                config = {**base, **given}
                evaluation = _Evaluation(make_game, env, config, swept, options, on_step)
                rows.append(evaluation.row(name))
                if evaluation.interrupted:
                    raise KeyboardInterrupt
    return rows


def _loaded(path: Path, seed: int) -> tuple[Checkpoint, MakeGame]:
    """A checkpoint, and what makes games of its policy, or of those of several agents."""
    loaded = checkpoints.load_all(path)
    first = next(iter(loaded.values()))
    if checkpoints.algorithm_config(first).is_multi_agent:
        return first, partial(SeveralAgents, AgentPolicies(loaded, seed))
    return first, partial(OneAgent, policy_of(first, seed=seed))


def _seed_all(seed: int) -> None:
    """Seeds what modules draw by that are not ELMUR's."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def _keeping(rows: list[Row]) -> Generator[None]:
    """Keeps the rows that are there when Ctrl-C is pressed."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(rows) from error


def _combinations(options: EvaluateOptions) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """All combinations of swept values, alone and together with the options that are fixed."""
    given = options.env_config or {}
    lists = {name: value for name, value in given.items() if isinstance(value, list)}
    sweep = {**lists, **(options.sweep or {})}
    for values in product(*sweep.values()):
        swept = dict(zip(sweep, values, strict=True))
        yield swept, {**given, **swept}


class _Evaluation:
    """The episodes of one row."""

    def __init__(
        self,
        make_game: MakeGame,
        env: Any,
        env_config: dict[str, Any],
        swept: dict[str, Any],
        options: EvaluateOptions,
        on_step: OnStep | None,
    ):
        self.interrupted = False
        self._make_game, self._env, self._swept = make_game, env, swept
        self._options, self._on_step = options, on_step
        self._goal = options.episodes or (None if options.steps else EPISODES)
        self._seed = _FIRST_SEED + options.seed * _SEEDS_APART
        self._is_shown = options.render or options.video is not None
        if self._is_shown:
            env_config = {**env_config, **self._shown(env_config)}
        self._env_config = env_config

    def row(self, name: str) -> Row:
        """Plays the episodes; `name` is that of the checkpoint."""
        game = self._make_game(self._env, self._env_config, self._side_by_side())
        start = time.perf_counter()
        try:
            game.require_spaces(f"{name}: ")
            played = self._play(game, self._videos(name, game))
        except gymnasium.error.Error as error:
            raise UserError(f"env={self._env!r}: {error}") from error
        finally:
            game.close()
        seconds = time.perf_counter() - start
        return row_of(name, self._swept, played, self._goal, seconds)

    def _videos(self, name: str, game: Game) -> Videos | None:
        if self._options.video is None:
            return None
        names = [name, *(f"{option}={value}" for option, value in self._swept.items())]
        return Videos(self._options.video, names, self._env, game.metadata)

    def _side_by_side(self) -> int:
        if self._is_shown:
            return 1
        if self._goal is None:  # not so many that none of them would come to its end
            return min(max((self._options.steps or 0) // _STEPS_EACH, 1), EPISODES)
        return min(self._goal, _MOST_SIDE_BY_SIDE)

    def _play(self, game: Game, videos: Videos | None) -> EpisodeResults:
        """Plays in all environments, again and again; returns the figures of all episodes."""
        rounds: list[EpisodeResults] = []
        while not (self.interrupted or self._enough(rounds)):
            n_played, steps = count(rounds)
            left = None if self._options.steps is None else self._options.steps - steps
            bounds = Bounds(self._options.max_episode_steps, left)
            tell = partial(self._tell, game, videos, sum(int(p.ended.sum()) for p in rounds))
            seed = self._seed + n_played
            try:
                rounds.append(play(game, seed, bounds, self._options.explore, tell))
            finally:
                if videos is not None:
                    videos.end()
            self.interrupted = rounds[-1].interrupted
        return joined(rounds)

    def _tell(
        self, game: Game, videos: Videos | None, before: int, step: int, running: np.ndarray
    ) -> None:
        frame = shown_by(game) if self._is_shown else None
        if videos is not None:
            videos.add(frame)
        if self._on_step is not None and (self._options.render or step % 20 == 0):
            ended, frame = before + int((~running).sum()), frame if isinstance(frame, str) else None
            most = self._options.max_episode_steps
            self._on_step(Moment(self._swept, step, most, ended, self._goal, frame))

    def _enough(self, rounds: list[EpisodeResults]) -> bool:
        n_played, steps = count(rounds)
        if self._options.steps is not None and steps >= self._options.steps:
            return True
        return self._goal is not None and n_played >= self._goal

    def _shown(self, env_config: dict[str, Any]) -> dict[str, Any]:
        """The option by which the environment shows itself."""
        game = self._make_game(self._env, env_config, 1)
        game.close()
        mode = render_mode(self._options, self._env, game.metadata)
        return {} if mode is None else {"render_mode": mode}


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without what they have in common."""
    full = [path.expanduser().resolve() for path in paths]
    if len(full) == 1:
        return [full[0].name]
    common = os.path.commonpath([str(path) for path in full])
    return [os.path.relpath(path, common) for path in full]
