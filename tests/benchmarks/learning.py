"""How soon and how steadily policies learn, and how long they remember: seeds against peers.

    python tests/benchmarks/learning.py tmaze --seeds 101 102 103 104 105
    python tests/benchmarks/learning.py corrected --seeds 201 202 203 --policy None LSTM
    python tests/benchmarks/learning.py endless --seeds 201 202 203
    python tests/benchmarks/learning.py cartpole --seeds 101 102 103
    python tests/benchmarks/learning.py cartpole --model '{"memory_levels": 3}' '{"n_layers": 2}'

Every row trains the shipped tuned example of its task (`tuned_examples/`) with another policy. The
mazes' policies then play what they were never trained on. Prints a table; `--save NAME` keeps its
figures and the learning curves.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from results import add_save, save
from rich.console import Console
from rich.table import Table
from suite_tasks import RLLIB_CARTPOLE_LSTM
from trainings import (
    STEPS,
    Curve,
    changed,
    lowest_after,
    read_example,
    time_to,
    trained,
    with_lstm,
    with_options,
)

from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions, TrainOptions

SOLVED = 350  # mean return of an iteration on StatelessCartPole
LENGTHS = [100, 1000, 10_000]
CHECKPOINTS = 5  # the last ones, one per iteration
PLAYED: dict[str, dict[str, Any]] = {
    "tmaze": {"corridor_length": LENGTHS},
    "corrected": {"corridor_length": LENGTHS},
    "endless": {"junctions": 50},
}

TASKS = {
    "tmaze": ("tmaze-ppo", "env_runners/success", 400_000),
    "corrected": ("tmaze-corrected-ppo", "env_runners/success", 350_000),
    "endless": ("tmaze-endless-ppo", "env_runners/success", 350_000),
    "cartpole": ("stateless-cartpole-ppo", "env_runners/episode_return_mean", 200_000),
}


def variants(name: str, models: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The policies that are compared: the changes each makes to the example's config.

    Args:
        name: The example.
        models: Options of ELMUR to compare in place of ELMUR and its peers.
    """
    config = read_example(name)["config"]
    options = config["rl_module_spec"]["model_config"]
    levels = options.get("memory_levels") or 2

    def elmur(**changed: Any) -> dict[str, Any]:
        made = with_options(config, changed)
        model_config = made["rl_module_spec"]["model_config"]
        if model_config.get("memory_levels") is None:
            model_config.pop("memory_commitment", None)
        return made

    if models:
        return {f"ELMUR {json.dumps(model)}": elmur(**model) for model in models}
    # The LSTM gets what others found for it where there is such.
    own = read_example(f"{name}-lstm")["config"] if name == "tmaze-ppo" else {}
    if name == "stateless-cartpole-ppo":
        own = {"model_config": {"use_lstm": True, **RLLIB_CARTPOLE_LSTM}}
    return {
        f"ELMUR, memory_levels={levels}": elmur(memory_levels=levels),
        "ELMUR, memory_levels=None": elmur(memory_levels=None),
        "RLlib's LSTM": with_lstm(config) | own,
    }


def run(
    task: str,
    policy: str,
    changes: dict[str, Any],
    seeds: list[int],
    steps: int,
    folder: Path,
    console: Console,
) -> dict[int, tuple[Curve, list[Path]]]:
    """Trains a policy with every seed; returns each seed's curve and its last checkpoints."""
    name, metric, _ = TASKS[task]
    example = read_example(name)
    example["config"] = changed(example["config"], changes)
    example["stop"] = {STEPS: steps}
    if task == "cartpole":
        example["stop"][metric] = SOLVED
    options = TrainOptions(
        storage_path=folder,
        experiment_name="".join(c if c.isalnum() else "-" for c in f"{task} {policy}"),
        checkpoint_freq=1 if task in PLAYED else 0,
        keep_checkpoints_num=CHECKPOINTS,
    )
    results = trained(name, example, seeds, metric, options, console)
    return {seed: (curve, kept[-CHECKPOINTS:]) for seed, (curve, kept) in results.items()}


def maze_row(
    task: str, curve: Curve, checkpoints: list[Path], every_checkpoint: bool
) -> dict[str, Any]:
    """The figures of one seed on a maze."""
    chosen = checkpoints if every_checkpoint else checkpoints[-1:]
    played = PLAYED[task]
    rows = evaluate(chosen, EvaluateOptions(env_config=played, episodes=32))
    ((what, values),) = played.items()
    values = values if isinstance(values, list) else [values]
    successes = [row.success for row in rows]
    per_checkpoint = [successes[i : i + len(values)] for i in range(0, len(rows), len(values))]
    steps, seconds = time_to(curve, 0.99, window=5)
    return {
        "steps to 0.99": steps,
        "seconds to 0.99": seconds,
        "lowest after 0.97": lowest_after(curve, 0.97),
        **dict(zip((f"{what} {value:,}" for value in values), per_checkpoint[-1], strict=True)),
        "last checkpoints": per_checkpoint,
    }


def cartpole_row(curve) -> dict[str, Any]:
    """The figures of one seed on StatelessCartPole."""
    return {
        f"steps to {SOLVED}": time_to(curve, SOLVED, window=1)[0],
        "best return": max(value for _, value, _ in curve),
    }


def summary(task: str, policy: str, steps: int, seeds: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The figures of a policy, of all its seeds together."""
    of_seeds = list(seeds.values())

    def each(name: str) -> list[Any]:
        return [figures[name] for figures in of_seeds]

    row: dict[str, Any] = {"policy": policy, "seeds": list(seeds), "env steps": steps}
    if task in PLAYED:
        ((what, values),) = PLAYED[task].items()
        names = [f"{value:,}" for value in (values if isinstance(values, list) else [values])]
        success = {name: each(f"{what} {name}") for name in names}
        row |= {name: each(name) for name in ("steps to 0.99", "seconds to 0.99")}
        row["lowest after 0.97"] = min((x for x in each("lowest after 0.97") if x), default=None)
        row["all right"] = {name: s.count(1.0) for name, s in success.items()}
        row["success"] = success
    else:
        row |= {name: each(name) for name in (f"steps to {SOLVED}", "best return")}
    return row | {"curves": each("curve")}


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--steps", type=int, help="env steps of each training")
    parser.add_argument("--policy", nargs="+", help="only the policies whose name contains this")
    parser.add_argument(
        "--model", type=json.loads, nargs="+", default=[], help="compare these options of ELMUR"
    )
    parser.add_argument("--folder", type=Path, help="keep the trainings here")
    add_save(parser)
    return parser


def main() -> None:
    """Runs the comparison that the command line asks for."""
    arguments = command_line().parse_args()
    console, rows = Console(highlight=False), []
    folder = arguments.folder or Path(tempfile.mkdtemp())
    name, _, steps = TASKS[arguments.task]
    for policy, changes in variants(name, arguments.model).items():
        if arguments.policy and not any(word in policy for word in arguments.policy):
            continue
        limit = arguments.steps or steps
        runs = run(arguments.task, policy, changes, arguments.seeds, limit, folder, console)
        table, seeds = Table(title=f"{arguments.task}: {policy}"), {}
        for seed, (curve, checkpoints) in runs.items():
            if arguments.task in PLAYED:
                every = arguments.task == "tmaze" and "=None" not in policy
                row = maze_row(arguments.task, curve, checkpoints, every)
            else:
                row = cartpole_row(curve)
            shown = {k: v for k, v in row.items() if k != "last checkpoints"}
            if not table.columns:
                for column in ("seed", *shown):
                    table.add_column(column)
            table.add_row(str(seed), *("-" if v is None else f"{v:,.6g}" for v in shown.values()))
            seeds[seed] = {**row, "curve": curve}
        console.print(table)
        rows.append(summary(arguments.task, policy, limit, seeds))
        save(arguments.save, rows)
        if arguments.task in PLAYED:
            for seed, figures in seeds.items():
                console.print(f"seed {seed}, last checkpoints: {figures['last checkpoints']}")


if __name__ == "__main__":
    main()
