"""The README's example with several seeds: when it is solved, and how long the policy remembers.

    python tests/benchmarks/readme_example.py --seeds 1 2 3

Trains for all env steps, then plays corridors that were never trained on, greedily and under the
strict time limit. `--save NAME` keeps the figures and the learning curves.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from peers import start_ray
from ray.rllib.algorithms.ppo import PPOConfig
from results import add_save, save
from rich.console import Console
from rich.table import Table
from suite_tasks import MAZE
from trainings import Curve, time_to, trained_here

import rllib_elmur
from rllib_elmur.plugin.process import quiet
from rllib_elmur.plugin.success import SuccessMetric
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

LENGTHS, EPISODES = [30, 100, 1000, 10_000], 32


def trained(seed: int, steps: int, checkpoint: Path, console: Console) -> Curve:
    """Trains as the README does, and saves the policy; returns the curve of the success."""
    config = (
        PPOConfig()
        .environment("rllib_elmur/TMazePassive-v0", env_config=MAZE)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .training(**rllib_elmur.PPO_SETTINGS)
    )
    rllib_elmur.use_elmur(config)
    config.callbacks(SuccessMetric).debugging(seed=seed)
    title = f"seed {seed}"
    algorithm, curve = trained_here(config, "env_runners/success", steps, title, console)
    algorithm.save_to_path(str(checkpoint))
    algorithm.stop()
    return curve


def row_of(seed: int, steps: int, console: Console) -> dict[str, Any]:
    """The figures of a seed."""
    with tempfile.TemporaryDirectory() as folder:
        curve = trained(seed, steps, Path(folder), console)
        lengths = {"corridor_length": LENGTHS, "slack": 1.0}
        played = evaluate([Path(folder)], EvaluateOptions(env_config=lengths, episodes=EPISODES))
    return {
        "seed": seed,
        "env steps": steps,
        "steps to 0.99": time_to(curve, 0.99, window=5)[0],
        "played": {length: row.success for length, row in zip(LENGTHS, played, strict=True)},
        "curve": curve,
    }


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=250_000, help="env steps of each training")
    add_save(parser)
    return parser


def main() -> None:
    """Trains with each seed, and prints the table."""
    arguments, console = command_line().parse_args(), Console()
    start_ray()
    with quiet():
        rows = [row_of(seed, arguments.steps, console) for seed in arguments.seeds]
    table = Table("seed", "steps to 0.99", *(f"success at {length:,}" for length in LENGTHS))
    for row in rows:
        solved = row["steps to 0.99"]
        played = (f"{success:.3f}" for success in row["played"].values())
        table.add_row(f"{row['seed']}", "-" if solved is None else f"{solved:,}", *played)
    console.print(table)
    save(arguments.save, rows)


if __name__ == "__main__":
    main()
