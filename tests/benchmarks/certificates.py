"""From when on, and how steadily, trained memories are proven: seeds, mazes, kinds of memory.

    python tests/benchmarks/certificates.py tmaze-ppo --seeds 101 102 103 104 105
    python tests/benchmarks/certificates.py tmaze-ppo --model '{"memory_levels": 3}' '{}'

Trains a tuned example with each seed and saves a checkpoint in every iteration, which is then
certified from the episode's start (`--last 10`: only the last ten). A proof counts from the
iteration on in which success has first passed 0.99, as in a training that ends with one. Prints a
table for each memory; `--json FILE` keeps all verdicts.
"""

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from learning import STEPS, Curve, lowest_after, read_example, time_to, trained
from rich.console import Console
from rich.table import Table

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
    experiment["config"]["rl_module_spec"]["model_config"] |= model
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
        "proven of those after it": f"{sum(after)} of {len(after)}",
        "proven of the last ten": f"{sum(proven[-10:])} of {len(proven[-10:])}",
        "states of the last": verdicts[-1].get("states"),
        "smallest gap of the last": verdicts[-1].get("gap"),
        "verdicts": "".join(
            {"proven": "P", "refuted": "r", "undecided": "?", "unchecked": "."}[v["verdict"]]
            for v in verdicts
        ),
    }


def main() -> None:
    """Trains and certifies what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("example")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--steps", type=int, default=250_000, help="env steps of each training")
    parser.add_argument("--model", type=json.loads, nargs="+", default=[{}], help="model options")
    parser.add_argument("--max-states", type=int, default=20_000)
    parser.add_argument("--last", type=int, default=10_000, help="certify only so many")
    parser.add_argument("--folder", type=Path, help="keep the trainings here")
    parser.add_argument("--json", type=Path, help="write figures, curves and verdicts here")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    console, data = Console(highlight=False, width=200), []
    for number, model in enumerate(arguments.model):
        runs = run(arguments.example, model, arguments.seeds, arguments.steps, folder / str(number))
        table = Table(title=f"{arguments.example} {model or ''}")
        for seed, (curve, checkpoints) in runs.items():
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                tasks = [(path, arguments.max_states) for path in checkpoints]
                begin = max(len(tasks) - arguments.last, 0)
                verdicts = [UNCHECKED] * begin + list(pool.map(verdict_of, tasks[begin:]))
            row = row_of(curve, verdicts)
            if not table.columns:
                for column in ("seed", *row):
                    table.add_column(column)
            shown = (f"{v:,.6g}" if isinstance(v, (int, float)) else str(v) for v in row.values())
            table.add_row(str(seed), *shown)
            data.append({"model": model, "seed": seed, **row, "curve": curve, "details": verdicts})
            if arguments.json:
                arguments.json.write_text(json.dumps(data, indent=1))
        console.print(table)


if __name__ == "__main__":
    main()
