"""What a module without RLlib costs: rows of `speed.py`."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from peers import OPTIONS, ROUNDS, Row, alternate, row
from torch import nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.network import PolicyNetwork

STEPS = 200  # of a module between two looks at the clock
SPACE = gym.spaces.Box(-1, 1, (4,))


def step() -> Iterator[Row]:
    """One step of the module, with heads, against tokenizer + LSTM + heads."""
    for n_layers, batch_size in ((2, 16), (2, 64), (1, 16), (1, 64)):
        tasks = {"ELMUR": _elmur_steps(n_layers, batch_size), "LSTM": _lstm_steps(batch_size)}
        times = {peer: value / STEPS * 1e6 for peer, value in alternate(tasks, ROUNDS).items()}
        yield row(f"module step, n={n_layers}, B={batch_size}", "LSTM", times, "us")


def _elmur_steps(n_layers: int, batch_size: int) -> Callable[[], None]:
    network = PolicyNetwork(SPACE, 4, ELMURConfig(n_layers=n_layers, **OPTIONS))
    clock = torch.arange(batch_size)  # rows finish their segments at different times
    live = network.elmur.live(network.elmur.initial_state(batch_size)._replace(clock=clock))
    vf, x = nn.Linear(64, 1), torch.randn(batch_size, 1, 4)

    @torch.no_grad()
    def run() -> None:
        for _ in range(STEPS):
            features = network.step(x, live)
            network.pi(features)
            vf(features)

    return run


def _lstm_steps(batch_size: int) -> Callable[[], None]:
    token, lstm = nn.Linear(4, 64), nn.LSTM(64, 64, batch_first=True)
    pi, vf, x = nn.Linear(64, 4), nn.Linear(64, 1), torch.randn(batch_size, 1, 4)

    @torch.no_grad()
    def run() -> None:
        state = (torch.zeros(1, batch_size, 64),) * 2
        for _ in range(STEPS):
            features, state = lstm(torch.tanh(token(x)), state)
            pi(features)
            vf(features)

    return run


def episode() -> Iterator[Row]:
    """Step latency and resident memory at step 1,000,000 of one episode over step 1,000."""
    code = Path(__file__).with_name("long_episode.py")
    out = subprocess.run([sys.executable, code], capture_output=True, text=True, check=True).stdout
    early, late = json.loads(out)
    for key, unit in (("latency", "us"), ("memory", "MiB")):
        values = {"ELMUR": late[key], "step 1,000": early[key]}
        yield row(f"{key} at step 1,000,000", "step 1,000", values, unit)


def growth() -> Iterator[Row]:
    """Cost per env step as one size grows: a module step (B = 16), and forward and backward."""
    base: dict[str, Any] = {"n_layers": 2, "memory_slots": 2, "segment_length": 5}
    for key, values in {
        "n_layers": (4,),
        "memory_slots": (8, 32),
        "segment_length": (16, 64),
    }.items():
        for value in values:
            # Four segments a sequence, whatever their length.
            sizes = {"base": base, "ELMUR": {**base, key: value}}
            for what, task in (("step", _step_task), ("train", _train_task)):
                tasks = {name: task(**options) for name, options in sizes.items()}
                seconds = alternate({name: run for name, (run, _) in tasks.items()}, ROUNDS)
                times = {k: value / tasks[k][1] * 1e6 for k, value in seconds.items()}
                name = f"growth of {what}, {key} {base[key]} -> {value}"
                yield row(name, "base", times, "us/token")


def _step_task(**options: Any) -> tuple[Callable[[], None], int]:
    elmur = PolicyNetwork(SPACE, 4, ELMURConfig(**{**OPTIONS, **options})).elmur
    state = elmur.initial_state(16)._replace(clock=torch.arange(16))
    live, x = elmur.live(state), torch.randn(16, 64)

    def run() -> None:
        for _ in range(128):
            live.step(x)

    return run, 128 * 16


def _train_task(**options: Any) -> tuple[Callable[[], None], int]:
    elmur = PolicyNetwork(SPACE, 4, ELMURConfig(**{**OPTIONS, **options})).elmur
    n_steps = 4 * options["segment_length"]
    x = torch.randn(32, n_steps, 64)

    def run() -> None:
        outputs, _ = elmur(x, elmur.initial_state(32))
        outputs.sum().backward()

    return run, 32 * n_steps
