"""Trains tuned examples with several seeds, and reads their learning curves."""

import copy
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.utils import flatten_dict
from rich.console import Console
from suite_tasks import LSTM

from rllib_elmur.cli.examples import path_of
from rllib_elmur.cli.lines import Lines
from rllib_elmur.plugin.learner.options import LearnerOptions
from rllib_elmur.runs.options import TrainOptions
from rllib_elmur.runs.train import train

STEPS = "num_env_steps_sampled_lifetime"

# A point of a learning curve: env steps, the metric, seconds of training.
Curve = list[tuple[float, float, float]]


def read_example(name: str) -> dict[str, Any]:
    """The experiment of a tuned example."""
    return yaml.safe_load(path_of(name).read_text())[name]


def with_options(config: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The module's spec and the learner's options of a config, with other options of ELMUR.

    Args:
        config: The config of an example.
        options: Each goes to where options of its kind stand: the learner's to
            `learner_config_dict`, all others to the spec's `model_config`.
    """
    of_learner = {k: v for k, v in options.items() if k in LearnerOptions.names()}
    of_module = {k: v for k, v in options.items() if k not in of_learner}
    spec = copy.deepcopy(config["rl_module_spec"])
    spec["model_config"] |= of_module
    learner = config.get("learner_config_dict", {}) | of_learner
    return {"rl_module_spec": spec, "learner_config_dict": learner}


def with_lstm(config: dict[str, Any]) -> dict[str, Any]:
    """What puts RLlib's LSTM in ELMUR's place in the config of an example; None: without it."""
    options = config["rl_module_spec"]["model_config"]
    return {
        "model_config": {**LSTM, "max_seq_len": options["max_seq_len"]},
        "rl_module_spec": None,
        "learner_config_dict": None,
    }


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A config with other values; a key whose new value is None is taken out."""
    return {key: value for key, value in {**config, **changes}.items() if value is not None}


def trained(
    name: str,
    experiment: dict[str, Any],
    seeds: list[int],
    metric: str,
    options: TrainOptions,
    console: Console,
) -> dict[int, tuple[Curve, list[Path]]]:
    """Trains an experiment with every seed; returns each seed's curve and its checkpoints."""
    experiment["config"]["seed"] = {"grid_search": seeds}
    options.storage_path.mkdir(parents=True, exist_ok=True)
    file = options.storage_path / "experiment.yaml"
    file.write_text(yaml.safe_dump({name: experiment}))
    (result,) = train(file, options, Lines(console))
    if result.errors:
        raise RuntimeError("\n".join(result.errors))
    results = {}
    for progress in result.folder.glob("*/progress.csv"):
        seed = json.loads((progress.parent / "params.json").read_text())["seed"]
        with progress.open() as lines:
            keys = STEPS, metric, "time_total_s"
            curve = [tuple(float(row[key]) for key in keys) for row in csv.DictReader(lines)]
        results[seed] = curve, sorted(progress.parent.glob("checkpoint_*"))
    return dict(sorted(results.items()))


def trained_here(
    config: AlgorithmConfig, metric: str, steps: int, title: str, console: Console
) -> tuple[Algorithm, Curve]:
    """Trains a config's algorithm in this process; its curve has no point without the metric."""
    algorithm, curve, done = config.build_algo(), [], 0
    while done < steps:
        result = flatten_dict(algorithm.train())
        done, value = result[STEPS], result.get(metric, float("nan"))
        if value == value:
            curve.append((done, round(float(value), 4), round(result["time_total_s"], 1)))
            console.print(f"{title}: {curve[-1]}")
    return algorithm, curve


def time_to(curve: Curve, level: float, window: int) -> tuple[float | None, float | None]:
    """Env steps and seconds until the median of `window` iterations first reaches `level`."""
    values = [value for _, value, _ in curve]
    for i in range(window, len(values) + 1):
        if np.median(values[i - window : i]) >= level:
            return curve[i - 1][0], curve[i - 1][2]
    return None, None


def lowest_after(curve: Curve, level: float) -> float | None:
    """The lowest value after the curve first passed `level`."""
    values = [value for _, value, _ in curve]
    first = next((i for i, value in enumerate(values) if value > level), None)
    return None if first is None else min(values[first:])
