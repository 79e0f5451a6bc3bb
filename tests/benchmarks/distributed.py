"""Env steps a second of IMPALA with remote env runners.

    python tests/benchmarks/distributed.py            all rows
    python tests/benchmarks/distributed.py runners    one of them

Trainings take turns, each with the machine to itself (an env runner and the learner take a core
each); figures are medians. The driver waits for fragments, as in the tuned examples, and does not
spin. `peers`: one layer of ELMUR over RLlib's LSTM, one runner of four environments, of sixteen.
`runners`: two runners over one, in an environment that takes a millisecond a step.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from peers import ENVIRONMENT, OPTIONS, start_ray
from ray import cloudpickle
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from results import add_save, save
from rich.console import Console
from rich.table import Table

import rllib_elmur

ROUNDS, SECONDS = 3, 20
STEPS = "num_env_steps_sampled_lifetime"


class Slow(gym.Wrapper):
    """A T-Maze whose step takes a millisecond."""

    def __init__(self, config: Any):
        super().__init__(gym.make("rllib_elmur/TMazePassive-v0", corridor_length=10))

    def step(self, action: Any) -> Any:
        """Waits and steps."""
        time.sleep(1e-3)
        return super().step(action)


def impala(peer: str, n_runners: int = 1, n_envs: int = 4, env: Any = ENVIRONMENT) -> IMPALAConfig:
    """The config of a peer, "ELMUR" or "LSTM"."""
    config = IMPALAConfig().environment(env, env_config={"corridor_length": [3, 30]})
    config.env_runners(
        num_env_runners=n_runners, num_envs_per_env_runner=n_envs, rollout_fragment_length=64
    )
    config.learners(num_learners=0)
    config.training(train_batch_size_per_learner=64 * n_envs, timeout_s_sampler_manager=0.02)
    config.reporting(min_time_s_per_iteration=1)
    if env == ENVIRONMENT:
        config.env_runners(gym_env_vectorize_mode="vector_entry_point")
    if peer == "ELMUR":
        return rllib_elmur.use_elmur(config, n_layers=1, max_seq_len=35, **OPTIONS)
    model = DefaultModelConfig(fcnet_hiddens=[64], use_lstm=True, lstm_cell_size=64, max_seq_len=35)
    return config.rl_module(model_config=model)


def rate(config: IMPALAConfig) -> float:
    """Env steps a second of a training that has begun to learn."""
    algorithm = config.build_algo()
    for _ in range(5):
        first = algorithm.train()
    begin, last = time.perf_counter(), first
    while time.perf_counter() - begin < SECONDS:
        last = algorithm.train()
    seconds = time.perf_counter() - begin
    algorithm.stop()
    return (last[STEPS] - first[STEPS]) / seconds


def alternate(configs: dict[str, Any]) -> dict[str, float]:
    """Median rates of trainings that take turns."""
    rates: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(ROUNDS):
        for name, make in configs.items():
            rates[name].append(rate(make()))
    return {name: statistics.median(values) for name, values in rates.items()}


def peers() -> Iterator[tuple[str, dict[str, float]]]:
    """ELMUR over RLlib's LSTM."""
    for n_envs in (4, 16):
        made = {peer: lambda p=peer, n=n_envs: impala(p, 1, n) for peer in ("ELMUR", "LSTM")}
        yield f"IMPALA, {n_envs} envs, ELMUR over LSTM", alternate(made)


def runners() -> Iterator[tuple[str, dict[str, float]]]:
    """Two env runners over one."""
    made = {f"{n} runners": lambda n=n: impala("ELMUR", n, 4, Slow) for n in (2, 1)}
    yield "IMPALA, 1 ms a step, two runners over one", alternate(made)


ROWS = {f.__name__: f for f in (peers, runners)}


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []])
    add_save(parser)
    return parser


def main() -> None:
    """Prints the rows that the command line asks for."""
    arguments = command_line().parse_args()
    cloudpickle.register_pickle_by_value(__import__("__main__"))
    start_ray(num_cpus=3)
    table, data = Table("what", "env steps/s", "ratio"), []
    for name in arguments.rows or ROWS:
        for what, rates in ROWS[name]():
            first, second = rates.values()
            shown = ", ".join(f"{peer} {value:,.0f}" for peer, value in rates.items())
            table.add_row(what, shown, f"{first / second:.2f}")
            data.append({"what": what, "env steps/s": rates, "ratio": first / second})
    Console(highlight=False, width=120).print(table)
    save(arguments.save, data)


if __name__ == "__main__":
    main()
