"""RLlib's examples with memory: as RLlib has them, and with ELMUR in the place of their LSTM.

    python tests/benchmarks/rllib_examples.py                         all examples
    python tests/benchmarks/rllib_examples.py custom_lstm_rl_module --seeds 1 2 3

Both get what the example sets for PPO, and the same env steps; ELMUR has its defaults. Prints the
mean return of the last tenth of the training, and the env steps at which an iteration's first
reached the example's stop reward; `--save NAME` keeps both, and the learning curves.
Rock-paper-scissors needs `pip install -e '.[benchmarks]'`.
"""

import argparse
from typing import Any

import numpy as np
from peers import start_ray
from results import add_save, save
from rich.console import Console
from rich.table import Table
from rllib_example_configs import EXAMPLES, PEERS, Example
from suite_table import tenths
from trainings import Curve, time_to, trained_here

from rllib_elmur.plugin.process import quiet


def curve_of(example: Example, peer: str, seed: int, steps: int, console: Console) -> Curve:
    """Trains; returns the learning curve, without points before the first episode's end."""
    config = example.config(peer)
    config.env_runners(num_env_runners=0).learners(num_learners=0).debugging(seed=seed)
    title = f"{example.config.__name__}, {peer}, seed {seed}"
    algorithm, curve = trained_here(config, example.metric, steps, title, console)
    algorithm.stop()
    return curve


def row_of(name: str, curves: dict[str, list[Curve]], arguments: argparse.Namespace) -> Any:
    """The figures of an example: lists hold a value for each seed."""
    example = EXAMPLES[name]
    row = {
        "example": name,
        "env steps": arguments.steps or example.steps,
        "stop reward": example.stop,
        "metric": example.metric,
        "seeds": arguments.seeds,
    }
    # No return is at least NaN.
    stop = float("nan") if example.stop is None else example.stop
    for peer, of_seeds in curves.items():
        returns = [np.array([value for _, value, _ in curve]) for curve in of_seeds]
        row[f"{peer} last tenth"] = [tenths(values)[1] for values in returns]
        row[f"{peer} steps to stop"] = [time_to(curve, stop, window=1)[0] for curve in of_seeds]
    return row | {"curves": curves}


def table_of(rows: list[Any]) -> Table:
    """The printed table."""
    heads = [f"{peer} {what}" for what in ("last tenth", "steps to stop") for peer in PEERS]
    table = Table("example", "env steps", "stop", *heads)
    for row in rows:
        cells = (", ".join("-" if v is None else f"{v:,.6g}" for v in row[h]) for h in heads)
        table.add_row(row["example"], f"{row['env steps']:,}", f"{row['stop reward']}", *cells)
    return table


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("examples", nargs="*", choices=[*EXAMPLES, []], help="all if none")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, help="env steps of each training")
    add_save(parser)
    return parser


def main() -> None:
    """Trains the examples that the command line asks for."""
    arguments = command_line().parse_args()
    console, rows = Console(highlight=False, width=180), []
    start_ray()
    for name in arguments.examples or EXAMPLES:
        steps = arguments.steps or EXAMPLES[name].steps
        with quiet():
            curves = {
                peer: [curve_of(EXAMPLES[name], peer, s, steps, console) for s in arguments.seeds]
                for peer in PEERS
            }
        rows.append(row_of(name, curves, arguments))
        save(arguments.save, rows)
    console.print(table_of(rows))


if __name__ == "__main__":
    main()
