"""Evaluates checkpoints: a row of figures for each checkpoint and each swept value."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from rllib_elmur.acting.checkpoint import policy_of
from rllib_elmur.acting.policy import Policy
from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.environments import require_spaces
from rllib_elmur.plugin.process import one_thread, quiet
from rllib_elmur.runs.options import EPISODES, EvaluateOptions
from rllib_elmur.runs.play import EpisodeResults, make_vector_env, play

_MOST_SIDE_BY_SIDE = 256
# The episodes of each seed of an evaluation are reset with a million seeds of their own.
_FIRST_SEED, _SEEDS_APART = 1_000_003, 1_000_000


@dataclass
class Row:
    """The figures of one checkpoint in one environment.

    Attributes:
        checkpoint: A short name of the checkpoint.
        swept: The environment options that are swept, with their values in this row.
        episodes: Number of episodes.
        success: Share of successful ones; None where the environment says nothing about it.
        episode_return: Mean return.
        episode_length: Mean number of steps.
        steps_per_second: Environment steps per second, all episodes together.
    """

    checkpoint: str
    swept: dict[str, Any]
    episodes: int
    success: float | None
    episode_return: float
    episode_length: float
    steps_per_second: float


@dataclass(frozen=True)
class Moment:
    """How far the episodes of a row have come.

    Attributes:
        swept: As in the row.
        step: Steps that each running episode has taken.
        ended: Number of episodes that have ended.
        episodes: Number of episodes to play; None if it depends on their lengths.
        frame: What an environment shows as text, if the episodes are rendered so.
    """

    swept: dict[str, Any]
    step: int
    ended: int
    episodes: int | None
    frame: str | None = None


OnStep = Callable[[Moment], None]


def evaluate(
    paths: Sequence[Path], options: EvaluateOptions | None = None, on_step: OnStep | None = None
) -> list[Row]:
    """Plays episodes with each checkpoint's policy, greedily.

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
    """
    options = options or EvaluateOptions()
    rows = []
    with quiet(), one_thread():
        for path, name in zip(paths, _short_names(paths), strict=True):
            checkpoint = checkpoints.load(path)
            policy = policy_of(checkpoint)
            base = {} if options.env else checkpoint.env_config
            for swept, given in _combinations(options):
                env = options.env or checkpoint.settings["env"], {**base, **given}
                evaluation = _Evaluation(policy, *env, swept, options, on_step)
                rows.append(evaluation.row(name))
    return rows


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
        self._policy, self._env, self._swept = policy, env, swept
        self._steps, self._render, self._on_step = options.steps, options.render, on_step
        self._goal = options.episodes or (None if options.steps else EPISODES)
        self._seed = _FIRST_SEED + options.seed * _SEEDS_APART
        if options.render:
            env_config = {**env_config, "render_mode": _render_mode(env, env_config)}
        self._env_config = env_config

    def row(self, name: str) -> Row:
        """Plays the episodes; `name` is that of the checkpoint."""
        side_by_side = min(self._goal or EPISODES, _MOST_SIDE_BY_SIDE)
        envs = make_vector_env(self._env, self._env_config, 1 if self._render else side_by_side)
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
        returns = np.concatenate([p.returns for p in played])[: self._goal]
        lengths = np.concatenate([p.lengths for p in played])
        return Row(
            checkpoint=name,
            swept=self._swept,
            episodes=len(returns),
            success=_share(played, self._goal),
            episode_return=float(returns.mean()),
            episode_length=float(lengths[: self._goal].mean()),
            steps_per_second=float(lengths.sum() / seconds),
        )

    def _play(self, envs: VectorEnv) -> list[EpisodeResults]:
        played: list[EpisodeResults] = []
        while not self._enough(played):
            before = sum(len(p.returns) for p in played)

            def tell(step: int, running: np.ndarray, before: int = before) -> None:
                if self._on_step is not None and (self._render or step % 20 == 0):
                    ended, frame = before + int((~running).sum()), None
                    if self._render:
                        frames = envs.render()
                        frame = frames[0] if frames and isinstance(frames[0], str) else None
                    self._on_step(Moment(self._swept, step, ended, self._goal, frame))

            played.append(play(self._policy, envs, self._seed + before, tell))
        return played

    def _enough(self, played: list[EpisodeResults]) -> bool:
        if self._goal is not None:
            return sum(len(p.returns) for p in played) >= self._goal
        return sum(int(p.lengths.sum()) for p in played) >= (self._steps or 0)


def _share(played: list[EpisodeResults], goal: int | None) -> float | None:
    """The share of successful episodes among the first `goal`; None if none says anything."""
    if all(p.success is None for p in played):
        return None
    success = [np.zeros(len(p.returns)) if p.success is None else p.success for p in played]
    return float(np.concatenate(success)[:goal].mean())


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
