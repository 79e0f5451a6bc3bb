"""The environment that a training's process had registered, for evaluations in other processes.

A Python file registers it where it runs; whoever evaluates the results does not run it.
"""

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import ray.cloudpickle
from ray.tune.registry import register_env

from rllib_elmur.envs import ENVIRONMENTS
from rllib_elmur.plugin.import_paths import noted
from rllib_elmur.plugin.rllib_internals import env_creator

_FILE = "environment.pkl"


def register_with_rllib(env: str) -> None:
    """Registers one of Gymnasium's ids with RLlib, so that every process of a training has it."""
    register_env(env, partial(_make, gym.spec(env)))


def _make(spec: Any, options: Any) -> gym.Env:
    return gym.make(spec, **options)


def note_in(experiment: Path, env: Any) -> None:
    """Notes what makes a training's environment in the folder of its experiment's results."""
    maker = env_creator(env) if isinstance(env, str) and env not in ENVIRONMENTS else None
    if maker is not None:
        experiment.mkdir(parents=True, exist_ok=True)
        (experiment / _FILE).write_bytes(ray.cloudpickle.dumps((env, maker)))


def register_that_of(checkpoint: Path) -> None:
    """Registers the environment of a checkpoint's training, unless this process knows its name.

    Raises:
        ModuleNotFoundError: If a module that it was made of is missing.
    """
    file = noted(checkpoint, _FILE)
    if file is not None:
        name, maker = ray.cloudpickle.loads(file.read_bytes())
        if env_creator(name) is None:
            register_env(name, maker)
