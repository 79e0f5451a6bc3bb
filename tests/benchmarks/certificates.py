"""From when on, and how steadily, trained memories are proven: seeds, mazes, kinds of memory.

    python tests/benchmarks/certificates.py tmaze-ppo --seeds 101 102 103 104 105
    python tests/benchmarks/certificates.py tmaze-ppo --model '{"memory_levels": 3}' '{}'

Trains a tuned example with each seed and saves a checkpoint in every iteration, which is then
certified from the episode's start (`--last 10`: only the last ten). A proof counts from the
iteration on in which success has first passed 0.99, as in a training that ends with one. Prints a
table for each memory; `--save NAME` keeps its figures.
"""

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from results import add_save, save
from rich.console import Console
from rich.table import Table
from trainings import STEPS, Curve, lowest_after, read_example, time_to, trained, with_options

from rllib_elmur.plugin.process import quiet
from rllib_elmur.proof.certify import certify
from rllib_elmur.runs.options import TrainOptions

SUCCESS = "env_runners/success"
FOLLOWING = 20  # checkpoints after the first proof
UNCHECKED = {"verdict": "unchecked"}


def run(name: str, model: dict[str, Any], seeds: list[int], steps: int, folder: Path):
    """Trains an example; returns each seed's curve and all its checkpoints."""
    experiment = read_example(name)
    experiment["stop"] = {STEPS: steps}
    experiment["config"] |= with_options(experiment["config"], model)
    options = TrainOptions(storage_path=folder, experiment_name="runs", checkpoint_freq=1)
    return trained(name, experiment, seeds, SUCCESS, options, Console())


def verdict_of(task: tuple[Path, int]) -> dict[str, Any]:
    """A checkpoint's certificate, without its counterexample."""
    path, max_states = task
    with quiet():
        certificate, _ = certify(path, max_states=max_states)
    names = ("verdict", "states", "answers", "gap", "seconds")
    return {name: getattr(certificate, name) for name in names}


def row_of(curve: Curve, verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one seed; verdict i belongs to the policy after iteration i of the curve."""
    success = [value for _, value, _ in curve]
    proven = [verdict["verdict"] == "proven" for verdict in verdicts]
    passed = next((i for i, value in enumerate(success) if value >= 0.99), len(success))
    first = next((i for i in range(passed, len(proven)) if proven[i]), None)
    after = [] if first is None else proven[first + 1 : first + 1 + FOLLOWING]
    return {
        "steps to 0.99": time_to(curve, 0.99, window=5)[0],
        "lowest after 0.97": lowest_after(curve, 0.97),
        "steps to the first proof": None if first is None else curve[first][0],
        f"proven of the {FOLLOWING} after it": sum(after),
        "proven of the last ten": sum(proven[-10:]),
        "memories": verdicts[-1].get("states"),
        "smallest gap": verdicts[-1].get("gap"),
        "verdicts": "".join(
            {"proven": "P", "refuted": "r", "undecided": "?", "unchecked": "."}[v["verdict"]]
            for v in verdicts
        ),
    }


def summary(model: dict[str, Any], steps: int, seeds: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The figures of a kind of memory, of all its seeds together."""
    row: dict[str, Any] = {"model": model, "seeds": list(seeds), "env steps": steps}
    for name in next(iter(seeds.values())):
        row[name] = [figures[name] for figures in seeds.values()]
    lowest = [value for value in row["lowest after 0.97"] if value is not None]
    return row | {"lowest after 0.97": min(lowest, default=None)}


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("example")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--steps", type=int, default=250_000, help="env steps of each training")
    parser.add_argument(
        "--model", type=json.loads, nargs="+", default=[{}], help="options of ELMUR"
    )
    parser.add_argument("--max-states", type=int, default=20_000)
    parser.add_argument("--last", type=int, default=10_000, help="certify only so many")
    parser.add_argument("--folder", type=Path, help="keep the trainings here")
    add_save(parser)
    return parser


def main() -> None:
    """Trains and certifies what the command line asks for."""
    arguments = command_line().parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    console, rows = Console(highlight=False, width=200), []
    for number, model in enumerate(arguments.model):
        runs = run(arguments.example, model, arguments.seeds, arguments.steps, folder / str(number))
        table, seeds = Table(title=f"{arguments.example} {model or ''}"), {}
        for seed, (curve, checkpoints) in runs.items():
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                tasks = [(path, arguments.max_states) for path in checkpoints]
                begin = max(len(tasks) - arguments.last, 0)
                verdicts = [UNCHECKED] * begin + list(pool.map(verdict_of, tasks[begin:]))
            seeds[seed] = row = row_of(curve, verdicts)
            if not table.columns:
                for column in ("seed", *row):
                    table.add_column(column)
            shown = (f"{v:,.6g}" if isinstance(v, (int, float)) else str(v) for v in row.values())
            table.add_row(str(seed), *shown)
        console.print(table)
        rows.append(summary(model, arguments.steps, seeds))
        save(arguments.save, rows)


if __name__ == "__main__":
    main()
