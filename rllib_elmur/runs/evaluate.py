"""Evaluates checkpoints: a row of figures for each checkpoint and each swept value."""

import os
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
from gymnasium.vector import VectorEnv

from rllib_elmur.acting.checkpoint import policy_of
from rllib_elmur.acting.policy import Policy
from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.checkpoints import environment_of
from rllib_elmur.plugin.environments import require_spaces
from rllib_elmur.plugin.process import one_thread, quiet
from rllib_elmur.runs.options import EPISODES, EvaluateOptions
from rllib_elmur.runs.play import Bounds, EpisodeResults, make_vector_env, play
from rllib_elmur.runs.rows import Row, count, joined, row_of

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


def evaluate(
    paths: Sequence[Path], options: EvaluateOptions | None = None, on_step: OnStep | None = None
) -> list[Row]:
    """Plays episodes with each checkpoint's policy, greedily unless told to explore.

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
    rows: list[Row] = []
    with quiet(), one_thread(), _keeping(rows):
        for path, name in zip(paths, _short_names(paths), strict=True):
            checkpoint = checkpoints.load(path)
            torch.manual_seed(options.seed)
            policy = policy_of(checkpoint, seed=options.seed)
            base = {} if options.env else checkpoint.env_config
            for swept, given in _combinations(options):
                env = options.env or environment_of(checkpoint)
                config = {**base, **given}
                evaluation = _Evaluation(policy, env, config, swept, options, on_step)
                rows.append(evaluation.row(name))
                if evaluation.interrupted:
                    raise KeyboardInterrupt
    return rows


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
        policy: Policy,
        env: Any,
        env_config: dict[str, Any],
        swept: dict[str, Any],
        options: EvaluateOptions,
        on_step: OnStep | None,
    ):
        self.interrupted = False
        self._policy, self._env, self._swept = policy, env, swept
        self._options, self._on_step = options, on_step
        self._goal = options.episodes or (None if options.steps else EPISODES)
        self._seed = _FIRST_SEED + options.seed * _SEEDS_APART
        if options.render:
            env_config = {**env_config, "render_mode": _render_mode(env, env_config)}
        self._env_config = env_config

    def row(self, name: str) -> Row:
        """Plays the episodes; `name` is that of the checkpoint."""
        envs = make_vector_env(self._env, self._env_config, self._side_by_side())
        start = time.perf_counter()
        try:
            spaces = envs.single_observation_space, envs.single_action_space
            require_spaces(self._policy, *spaces, f"{name}: ")
            played = self._play(envs)
        except gymnasium.error.Error as error:
            raise UserError(f"env={self._env!r}: {error}") from error
        finally:
            envs.close()
        seconds = time.perf_counter() - start
        return row_of(name, self._swept, played, self._goal, seconds)

    def _side_by_side(self) -> int:
        if self._options.render:
            return 1
        if self._goal is None:  # not so many that none of them would come to its end
            return min(max((self._options.steps or 0) // _STEPS_EACH, 1), EPISODES)
        return min(self._goal, _MOST_SIDE_BY_SIDE)

    def _play(self, envs: VectorEnv) -> EpisodeResults:
        """Plays in all environments, again and again; returns the figures of all episodes."""
        rounds: list[EpisodeResults] = []
        while not (self.interrupted or self._enough(rounds)):
            n_played, steps = count(rounds)
            left = None if self._options.steps is None else self._options.steps - steps
            bounds = Bounds(self._options.max_episode_steps, left)
            tell = partial(self._tell, envs, sum(int(p.ended.sum()) for p in rounds))
            seed = self._seed + n_played
            rounds.append(play(self._policy, envs, seed, bounds, self._options.explore, tell))
            self.interrupted = rounds[-1].interrupted
        return joined(rounds)

    def _tell(self, envs: VectorEnv, before: int, step: int, running: np.ndarray) -> None:
        render = self._options.render
        if self._on_step is not None and (render or step % 20 == 0):
            ended, frame = before + int((~running).sum()), None
            if render:
                frames = envs.render()
                frame = frames[0] if frames and isinstance(frames[0], str) else None
            most = self._options.max_episode_steps
            self._on_step(Moment(self._swept, step, most, ended, self._goal, frame))

    def _enough(self, rounds: list[EpisodeResults]) -> bool:
        n_played, steps = count(rounds)
        if self._options.steps is not None and steps >= self._options.steps:
            return True
        return self._goal is not None and n_played >= self._goal


def _render_mode(env: Any, env_config: dict[str, Any]) -> str:
    """Text if the environment can show itself so, else its own window."""
    envs = make_vector_env(env, env_config, 1)
    modes = envs.metadata.get("render_modes", ())
    envs.close()
    for mode in ("ansi", "human"):
        if mode in modes:
            return mode
    raise UserError(f"--render: env={env!r} shows itself neither as text nor in a window.")


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without what they have in common."""
    full = [path.expanduser().resolve() for path in paths]
    if len(full) == 1:
        return [full[0].name]
    common = os.path.commonpath([str(path) for path in full])
    return [os.path.relpath(path, common) for path in full]
