"""The policies that are compared, on one environment in one form, in one process on one thread."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ray
import torch
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from results import save
from rich.console import Console
from rich.table import Table

import rllib_elmur
from rllib_elmur import ELMURConfig

torch.set_num_threads(1)

ENVIRONMENT = "rllib_elmur/TMazePassive-v0"
ROUNDS = 7
Row = dict[str, Any]  # of a table of ratios
OPTIONS = {**rllib_elmur.PAPER, "memory_levels": 2}
del OPTIONS["n_layers"]  # each benchmark names its own
TRAINING = {
    "minibatch_size": 1000,
    "num_epochs": 6,
    "lr": 3e-4,
    "grad_clip": 0.5,
    "entropy_coeff": 0.01,
    "vf_clip_param": 1e6,
    "use_kl_loss": False,
}
DEFAULTS = {**vars(ELMURConfig()), "max_seq_len": 64}
LONG = {"d_model": 128, "d_ff": 256, "segment_length": 16, "memory_slots": 4, "max_seq_len": 64}


def ppo(peer: str, n_envs: int = 16, **options: Any) -> PPOConfig:
    """The PPO config of a peer, which is "ELMUR", "LSTM" or "MLP"; options are ELMUR's."""
    config = PPOConfig().environment(
        ENVIRONMENT, env_config={"corridor_length": [3, 30], "penalty_rule": "standing_still"}
    )
    config.env_runners(
        num_env_runners=0,
        num_envs_per_env_runner=n_envs,
        gym_env_vectorize_mode="vector_entry_point",
    )
    config.learners(num_learners=0)
    config.training(train_batch_size_per_learner=4000, **TRAINING)
    width = options.get("d_model", 64)
    if peer == "ELMUR":
        return rllib_elmur.use_elmur(
            config, **{"n_layers": 2, "max_seq_len": 35, **OPTIONS, **options}
        )
    model = DefaultModelConfig(fcnet_hiddens=[width, width])
    if peer == "LSTM":
        model = DefaultModelConfig(
            fcnet_hiddens=[width],
            use_lstm=True,
            lstm_cell_size=width,
            max_seq_len=options.get("max_seq_len", 35),
        )
    return config.rl_module(model_config=model)


def status_of(process: str = "self") -> dict[str, str]:
    """What Linux says of a process, by its names for it."""
    lines = Path("/proc", process, "status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def resident(status: dict[str, str]) -> float:
    """Resident memory of a process but for memory shared by all, such as Ray's objects; in MiB.

    The kernel's own processes have none.
    """
    return sum(int(status.get(kind, "0").split()[0]) for kind in ("RssAnon", "RssFile")) / 1024


def update_once(group: Any, episodes: bytes) -> None:
    """Updates a learner group once from pickled episodes."""
    # Connectors change episodes: each update gets its own.
    group.update(episodes=cloudpickle.loads(episodes), num_epochs=6, minibatch_size=1000)


def stop_all(algorithms: dict[str, Any]) -> None:
    """Stops algorithms."""
    for algorithm in algorithms.values():
        algorithm.stop()


def show(rows: Iterable[Row], name: str | None) -> None:
    """Prints rows as they come, and a table of all; keeps them under `name` if there is one."""
    console, data = Console(highlight=False, width=120), []
    table = Table("what", "peer", "ELMUR", "peer's", "ratio", "unit")
    for made in rows:
        data.append(made)
        figures = [f"{made[key]:,.1f}" for key in ("ELMUR", "it")]
        ratio = f"{made['ratio']:.2f}"
        table.add_row(made["what"], made["peer"], *figures, ratio, made["unit"])
        console.print(f"{made['what']} / {made['peer']}: {ratio}")
        save(name, data)
    console.print(table)


def start_ray(num_cpus: int = 2) -> None:
    """Starts Ray on this machine, without what it says."""
    options = {"log_to_driver": False, "include_dashboard": False, "logging_level": "error"}
    ray.init("local", num_cpus=num_cpus, **options)


def alternate(tasks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each task; the tasks take turns, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            if i:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def row(name: str, peer: str, values: dict[str, float], unit: str) -> Row:
    """ELMUR's value beside a peer's."""
    ours, theirs = values["ELMUR"], values[peer]
    ratio = ours / theirs
    return {"what": name, "peer": peer, "ELMUR": ours, "it": theirs, "ratio": ratio, "unit": unit}
