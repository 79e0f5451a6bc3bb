"""Options of a training and of an evaluation: defaults, lowest values and one sentence each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rllib_elmur.config import option

EPISODES = 32
"""Episodes of a row of an evaluation, if neither their number nor that of steps is given."""
EPISODE_STEPS = 100_000
"""Steps after which an episode of an evaluation is left, if not told otherwise."""


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training; they have precedence over the file."""

    stop: dict[str, Any] | None = option(
        None, "Result names and numbers; replaces the file's criteria."
    )
    checkpoint_freq: int | None = option(None, "Iterations between checkpoints; 0: none.", low=0)
    checkpoint_at_end: bool | None = option(None, "Save a last checkpoint (default).")
    keep_checkpoints_num: int | None = option(
        None, "Number of checkpoints to keep of each trial.", low=1
    )
    num_samples: int | None = option(None, "Trials of each configuration.", low=1)
    storage_path: Path = option(Path("~/ray_results"), "Folder of results.")
    experiment_name: str | None = option(None, "Name of the folder in it.")
    restore: Path | None = option(None, "Begin with the state of this checkpoint.")
    resume: bool = option(False, "Go on with an experiment that was interrupted.")
    verbose: int = option(0, "More output; -vv: all of it.")
    ray_address: str | None = option(None, "Address of a running Ray cluster.")
    ray_num_cpus: int | None = option(None, "CPUs to use on this machine.", low=1)
    ray_num_gpus: int | None = option(None, "GPUs to use on this machine.", low=0)


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of an evaluation."""

    env: str | None = option(None, "Another environment than in training.")
    env_config: dict[str, Any] | None = option(
        None, "Environment options; a list is swept: a row for each of its values."
    )
    sweep: dict[str, list[Any]] | None = option(
        None, "An environment option and values: a row for each. May be given several times."
    )
    episodes: int | None = option(None, f"Episodes of a row; {EPISODES}.", low=1)
    steps: int | None = option(
        None, "Env steps of a row, all episodes together; those that go on are unfinished.", low=1
    )
    max_episode_steps: int = option(
        EPISODE_STEPS, "Steps after which an episode that goes on is unfinished.", low=1
    )
    seed: int = option(0, "Other seeds play other episodes.", low=0)
    explore: bool = option(False, "Draw actions; else they are the likeliest.")
    render: bool = option(False, "Show the episodes as text.")
    video: Path | None = option(None, "Write a video of each episode to this folder.")
