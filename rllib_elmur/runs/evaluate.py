"""Evaluates checkpoints: a row of figures for each checkpoint and corridor length."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from rich.console import Console

from rllib_elmur.cli.bar import progress_bar
from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.environments import require_spaces
from rllib_elmur.plugin.process import one_thread, quiet
from rllib_elmur.runs import play as rollout
from rllib_elmur.runs.options import EvaluateOptions

_MOST_SIDE_BY_SIDE = 256


@dataclass
class Row:
    """One line of the table.

    Attributes:
        checkpoint: A short name of the checkpoint.
        corridor_length: The corridor's length or range; None where the environment has none.
        episodes: Number of episodes.
        success: Share of successful ones; None where the environment says nothing about it.
        episode_return: Mean return.
        episode_length: Mean number of steps.
        steps_per_second: Environment steps per second, all episodes together.
    """

    checkpoint: str
    corridor_length: Any
    episodes: int
    success: float | None
    episode_return: float
    episode_length: float
    steps_per_second: float


def evaluate(paths: Sequence[Path], options: EvaluateOptions, console: Console) -> list[Row]:
    """Plays episodes with each checkpoint's policy, greedily.

    The environment's options are those of the training, overlaid by ``env_config`` of its
    `evaluation_config`, overlaid by the given ones. A list in `corridor_length` is a list of rows.

    Raises:
        UserError: If a checkpoint or the environment cannot be used.
    """
    rows = []
    with quiet(), one_thread():
        for path, name in zip(paths, _short_names(paths), strict=True):
            policy = checkpoints.load(path)
            given = dict(options.env_config or {})
            base = {} if options.env else policy.env_config
            lengths = given.pop("corridor_length", None)
            many = lengths if isinstance(lengths, list) else [lengths]
            for length in many:
                chosen = {**base, **given}
                if length is not None:
                    chosen["corridor_length"] = length
                rows.append(_row(policy, name, chosen, options, console))
    return rows


def _row(
    policy: checkpoints.Policy,
    name: str,
    env_config: dict[str, Any],
    options: EvaluateOptions,
    console: Console,
) -> Row:
    env = options.env or policy.settings["env"]
    goal = options.episodes or (None if options.steps else 32)
    if options.render:
        env_config = {**env_config, "render_mode": _render_mode(env, env_config)}
    num_envs = 1 if options.render else min(goal or 32, _MOST_SIDE_BY_SIDE)
    envs = rollout.make_vector_env(env, env_config, num_envs)
    played: list[rollout.Episodes] = []
    start = time.perf_counter()
    try:
        if not policy.connectors:
            require_spaces(
                policy.module,
                envs.single_observation_space,
                envs.single_action_space,
                f"{policy.path}: ",
            )
        with progress_bar(console, "{task.description}", "step {task.fields[steps]:,}") as bar:
            length = env_config.get("corridor_length")
            title = f"corridor {length:,}" if isinstance(length, int) else "episodes"
            task = bar.add_task(title, total=None, steps=0)

            def on_step(step: int, running: np.ndarray) -> None:
                frames = envs.render() if options.render else None
                if frames and isinstance(frames[0], str):
                    console.print(frames[0], markup=False)
                if step % 20 == 0:
                    if isinstance(length, int):
                        bar.update(task, total=length, completed=step, steps=step)
                    else:
                        ended = int((~running).sum())
                        bar.update(task, total=len(running), completed=ended, steps=step)

            if policy.connectors:
                for episodes in rollout.play_through_rllib(policy, env, env_config, goal or 32):
                    played.append(episodes)
                    bar.update(task, total=goal or 32, completed=len(played), steps=len(played))
            else:
                while not _enough(played, goal, options.steps):
                    played.append(rollout.play(policy, envs, len(played), on_step))
    except gymnasium.error.Error as error:
        raise UserError(f"env={env!r}: {error}") from error
    finally:
        envs.close()
    seconds = time.perf_counter() - start
    returns = np.concatenate([p.returns for p in played])[:goal]
    lengths = np.concatenate([p.lengths for p in played])
    success = [p.success for p in played if p.success is not None]
    return Row(
        checkpoint=name,
        corridor_length=env_config.get("corridor_length"),
        episodes=len(returns),
        success=float(np.concatenate(success)[:goal].mean()) if success else None,
        episode_return=float(returns.mean()),
        episode_length=float(lengths[:goal].mean()),
        steps_per_second=float(lengths.sum() / seconds),
    )


def _render_mode(env: Any, env_config: dict[str, Any]) -> str:
    """Text if the environment can show itself so, else its own window."""
    envs = rollout.make_vector_env(env, env_config, 1)
    modes = envs.metadata.get("render_modes", ())
    envs.close()
    for mode in ("ansi", "human"):
        if mode in modes:
            return mode
    raise UserError(f"--render: env={env!r} shows itself neither as text nor in a window.")


def _enough(played: list[rollout.Episodes], goal: int | None, steps: int | None) -> bool:
    episodes = sum(len(p.returns) for p in played)
    if goal is not None:
        return episodes >= goal
    return sum(int(p.lengths.sum()) for p in played) >= (steps or 0)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without what they have in common."""
    full = [path.expanduser().resolve() for path in paths]
    if len(full) == 1:
        return [full[0].name]
    common = os.path.commonpath([str(path) for path in full])
    return [os.path.relpath(path, common) for path in full]
