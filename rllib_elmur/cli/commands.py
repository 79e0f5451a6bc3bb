"""The commands that are printed after a training: what to go on with."""

import json
import shlex
from pathlib import Path
from typing import Any

from rllib_elmur.runs.options import TrainOptions
from rllib_elmur.runs.train import ExperimentResult


def commands_after(
    what: list[Any], options: TrainOptions, result: ExperimentResult
) -> dict[str, str]:
    """The commands by what they do.

    Args:
        what: The words behind `rllib train` that say what is trained.
        options: Those of the training.
        result: How it ended.
    """
    commands = {"TensorBoard": shlex.join(["tensorboard", "--logdir", str(result.folder)])}
    if result.checkpoints:
        words = ["rllib", "evaluate", *map(str, result.checkpoints), "--episodes", "32"]
        commands["Evaluate"] = shlex.join(words)
    if result.interrupted:
        commands["Go on"] = _resume(what, options, result.folder)
    return commands


def _resume(what: list[Any], options: TrainOptions, folder: Path) -> str:
    # Of several experiments in a file, each adds its own name to the given one.
    name = Path(options.experiment_name).name if options.experiment_name else folder.name
    words = ["rllib", "train", *what, "--storage-path", folder.parent]
    words += ["--experiment-name", name]
    if options.stop is not None:
        words += ["--stop", json.dumps(options.stop)]
    for option in ("ray_address", "ray_num_cpus", "ray_num_gpus"):
        if getattr(options, option) is not None:
            words += [f"--{option.replace('_', '-')}", getattr(options, option)]
    return shlex.join(map(str, [*words, "--resume"]))
