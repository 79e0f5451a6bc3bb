"""What ELMUR costs beside RLlib's LSTM and MLP, and how its cost grows.

    python tests/benchmarks/speed.py                     all rows
    python tests/benchmarks/speed.py sampling update     some of them

Peers take turns within one run on one thread; figures are medians. Ratios are what carries over to
other machines. `--json FILE` keeps them. The wall time to the solved T-Maze is a row of
`learning.py`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import ray
import torch
from peers import LONG, OPTIONS, alternate, ppo
from ray import cloudpickle
from rich.console import Console
from rich.table import Table
from torch import nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.live import LiveBatch
from rllib_elmur.model.network import PolicyNetwork

ROUNDS = 7
STEPS = 200  # of a module between two looks at the clock
SPACE = gym.spaces.Box(-1, 1, (4,))
Row = dict[str, Any]


def sampling() -> Iterator[Row]:
    """Env steps a second of an env runner, and bytes per env step on the way to the learner."""
    for n_envs in (16, 64):
        runners = {}
        for peer in ("ELMUR", "LSTM", "MLP"):
            config = ppo(peer, n_envs)
            runner = config.env_runner_cls or _default_runner()
            runners[peer] = runner(config=config, worker_index=0, num_workers=0)
        n_steps = 128 * n_envs
        tasks = {peer: partial(r.sample, num_timesteps=n_steps) for peer, r in runners.items()}
        seconds = alternate(tasks, ROUNDS)
        rates = {peer: n_steps / value for peer, value in seconds.items()}
        for peer in ("LSTM", "MLP"):
            yield _row(f"sampling, {n_envs} envs", peer, rates, "env steps/s")
        # As PPO samples: 4,000 steps an iteration.
        for runner in runners.values():
            runner.sample(num_timesteps=4000)
        sizes = {
            peer: len(cloudpickle.dumps(runner.sample(num_timesteps=4000))) / 4000
            for peer, runner in runners.items()
        }
        for peer in ("MLP", "LSTM"):
            yield _row(f"bytes to the learner, {n_envs} envs", peer, sizes, "bytes/env step")


def step() -> Iterator[Row]:
    """One step of the module, with heads, against tokenizer + LSTM + heads."""
    for n_layers, batch_size in ((2, 16), (2, 64), (1, 16), (1, 64)):
        tasks = {"ELMUR": _elmur_steps(n_layers, batch_size), "LSTM": _lstm_steps(batch_size)}
        times = {peer: value / STEPS * 1e6 for peer, value in alternate(tasks, ROUNDS).items()}
        yield _row(f"module step, n={n_layers}, B={batch_size}", "LSTM", times, "us")


def _elmur_steps(n_layers: int, batch_size: int) -> Callable[[], None]:
    network = PolicyNetwork(SPACE, 4, ELMURConfig(n_layers=n_layers, **OPTIONS))
    clock = torch.arange(batch_size)  # rows finish their segments at different times
    live = LiveBatch(network.elmur, network.elmur.initial_state(batch_size)._replace(clock=clock))
    vf, x = nn.Linear(64, 1), torch.randn(batch_size, 1, 4)

    @torch.no_grad()
    def run() -> None:
        for _ in range(STEPS):
            features, _ = network.act(x, live)
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


def update() -> Iterator[Row]:
    """PPO's update of one train batch of 4,000 env steps, connectors and all."""
    cases = {"n=2": {}, "n=1": {"n_layers": 1}, "d=128, L=16, M=4, T=64": LONG}
    for name, options in cases.items():
        algorithms = {peer: ppo(peer, **options).build_algo() for peer in ("ELMUR", "LSTM")}
        tasks = {}
        for peer, algorithm in algorithms.items():
            episodes = algorithm.env_runner.sample(num_timesteps=4000)

            tasks[peer] = partial(_update, algorithm.learner_group, cloudpickle.dumps(episodes))
        seconds = alternate(tasks, 5)
        times = {peer: value / 4000 * 1e6 for peer, value in seconds.items()}
        yield _row(f"update, {name}", "LSTM", times, "us/env step")
        _stop(algorithms)


def _update(group: Any, episodes: bytes) -> None:
    # Connectors change episodes: each update gets its own.
    group.update(episodes=cloudpickle.loads(episodes), num_epochs=6, minibatch_size=1000)


def training() -> Iterator[Row]:
    """Env steps a second of PPO, end to end."""
    for n_envs in (16, 64):
        algorithms = {
            "ELMUR": ppo("ELMUR", n_envs).build_algo(),
            "ELMUR, n=1": ppo("ELMUR", n_envs, n_layers=1).build_algo(),
            "LSTM": ppo("LSTM", n_envs).build_algo(),
        }
        seconds = alternate({peer: a.train for peer, a in algorithms.items()}, ROUNDS)
        rates = {peer: 4000 / value for peer, value in seconds.items()}
        for peer, n_layers in (("ELMUR", 2), ("ELMUR, n=1", 1)):
            pair = {"ELMUR": rates[peer], "LSTM": rates["LSTM"]}
            yield _row(f"training, n={n_layers}, {n_envs} envs", "LSTM", pair, "env steps/s")
        _stop(algorithms)


def episode() -> Iterator[Row]:
    """Step latency and resident memory at step 1,000,000 of one episode over step 1,000."""
    code = Path(__file__).with_name("long_episode.py")
    out = subprocess.run([sys.executable, code], capture_output=True, text=True, check=True).stdout
    early, late = json.loads(out)
    for key, unit in (("latency", "us"), ("memory", "MiB")):
        values = {"ELMUR": late[key], "step 1,000": early[key]}
        yield _row(f"{key} at step 1,000,000", "step 1,000", values, unit)


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
                yield _row(name, "base", times, "us/token")


def _step_task(**options: Any) -> tuple[Callable[[], None], int]:
    elmur = PolicyNetwork(SPACE, 4, _config(options)).elmur
    state = elmur.initial_state(16)._replace(clock=torch.arange(16))
    live, x = LiveBatch(elmur, state), torch.randn(16, 64)

    def run() -> None:
        for _ in range(128):
            live.step(x)

    return run, 128 * 16


def _train_task(**options: Any) -> tuple[Callable[[], None], int]:
    config = _config(options)
    elmur = PolicyNetwork(SPACE, 4, config).elmur
    x = torch.randn(32, config.max_seq_len, 64)

    def run() -> None:
        outputs, _ = elmur(x, elmur.initial_state(32))
        outputs.sum().backward()

    return run, 32 * config.max_seq_len


def _config(options: dict[str, Any]) -> ELMURConfig:
    length = 4 * options["segment_length"]
    return ELMURConfig(**OPTIONS, **options, max_seq_len=length)


def sb3() -> Iterator[Row]:
    """sb3-contrib's RecurrentPPO on the same environment, end to end."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from rllib_elmur.envs import ENVIRONMENTS

    scalar = ENVIRONMENTS["rllib_elmur/TMazePassive-v0"].scalar
    env_config = {"corridor_length": [3, 30], "penalty_rule": "standing_still"}
    envs = DummyVecEnv([lambda: scalar(**env_config)] * 16)
    policy = {"lstm_hidden_size": 64, "net_arch": [64]}
    model = RecurrentPPO(
        "MlpLstmPolicy", envs, n_steps=250, batch_size=1000, n_epochs=6, policy_kwargs=policy
    )
    model.learn(4000)
    algorithm = ppo("ELMUR", n_layers=1).build_algo()
    tasks = {
        "ELMUR": algorithm.train,
        "RecurrentPPO": lambda: model.learn(4000, reset_num_timesteps=False),
    }
    rates = {peer: 4000 / value for peer, value in alternate(tasks, 5).items()}
    yield _row("training, n=1, 16 envs", "RecurrentPPO", rates, "env steps/s")
    _stop({"": algorithm})


ROWS = {f.__name__: f for f in (sampling, step, update, training, episode, growth)}
ROWS["sb3"] = sb3


def _row(name: str, peer: str, values: dict[str, float], unit: str) -> Row:
    ours, theirs = values["ELMUR"], values[peer]
    ratio = ours / theirs
    return {"what": name, "peer": peer, "ELMUR": ours, "it": theirs, "ratio": ratio, "unit": unit}


def _default_runner() -> Any:
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    return SingleAgentEnvRunner


def _stop(algorithms: dict[str, Any]) -> None:
    for algorithm in algorithms.values():
        algorithm.stop()


def main() -> None:
    """Prints the rows that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all but sb3 if none")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, logging_level="error")
    console, data = Console(highlight=False, width=120), []
    table = Table("what", "peer", "ELMUR", "peer's", "ratio", "unit")
    for name in arguments.rows or [name for name in ROWS if name != "sb3"]:
        for row in ROWS[name]():
            data.append(row)
            figures = [f"{row[key]:,.1f}" for key in ("ELMUR", "it")]
            table.add_row(row["what"], row["peer"], *figures, f"{row['ratio']:.2f}", row["unit"])
            console.print(f"{row['what']} / {row['peer']}: {row['ratio']:.2f}")
            if arguments.json:
                arguments.json.write_text(json.dumps(data, indent=1))
    console.print(table)


if __name__ == "__main__":
    main()
