"""ELMUR, its paper's form and RLlib's LSTM on tasks that others wrote, at the same budget.

    python tests/benchmarks/suite.py --tasks 'Repeat*Easy' --seeds 1 2 3
    python tests/benchmarks/suite.py --tasks MultiCue8 --elmur '{"memory_slots": 16}' --label m16
    python tests/benchmarks/suite.py --tasks popgym --policies elmur lstm --steps 1000000
    python tests/benchmarks/suite.py --table --picture suite.png --save suite

Each training writes a file of its own; a call goes on with those that have none yet.
"""

import argparse
import contextlib
import json
import multiprocessing
import queue
import sys
import time
from pathlib import Path
from typing import Any

from results import add_save
from rich.console import Console
from suite_tasks import TASKS, chosen
from suite_training import POLICIES, SETTINGS, Job, train

FOLDER = Path("results/suite")
PATIENCE = 60.0  # seconds between two lines of one training


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=f"Tasks: {', '.join(TASKS)}."
    )
    parser.add_argument("--tasks", nargs="+", help="names or patterns, environment ids, or popgym")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, help="env steps of each training")
    parser.add_argument("--elmur", type=json.loads, default={}, help="options of ELMUR")
    parser.add_argument("--lstm", type=json.loads, default={}, help="of RLlib's DefaultModelConfig")
    parser.add_argument("--label", help="names the variants that the options make")
    parser.add_argument(
        "--set", type=setting, nargs="+", default=[], metavar="KEY=VALUE", help="PPO's settings"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the files")
    parser.add_argument("--side-by-side", type=int, default=2, help="trainings at a time")
    parser.add_argument(
        "--table", action="store_true", help="print the files' figures; no training"
    )
    parser.add_argument(
        "--saved", metavar="NAME", help="with --table: beside those of docs/results/NAME.json"
    )
    parser.add_argument(
        "--join", action="store_true", help="with --saved: add seeds to rows that are there"
    )
    parser.add_argument("--picture", type=Path, help="with --table: draw the curves here")
    add_save(parser)
    return parser


def setting(text: str) -> tuple[str, Any]:
    """A `key=value` of the command line, the value in JSON."""
    key, _, value = text.partition("=")
    if key not in SETTINGS:
        raise argparse.ArgumentTypeError(
            f"{text}: must be key=value, with a key of {', '.join(SETTINGS)}"
        )
    try:
        return key, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: the value must be JSON") from None


def jobs_of(arguments: argparse.Namespace) -> list[Job]:
    """The trainings that a command line asks for: all policies of a seed, then the next seed."""
    models = {"elmur": arguments.elmur, "paper": {}, "lstm": arguments.lstm}
    label = f"-{arguments.label}" if arguments.label else ""
    return [
        Job(
            name=name,
            task=task,
            policy=policy,
            label=policy + label,
            seed=seed,
            steps=arguments.steps or task.steps,
            model=models[policy],
            settings=dict(arguments.set),
        )
        for name, task in chosen(arguments.tasks or ["*"]).items()
        for seed in arguments.seeds
        for policy in arguments.policies
    ]


def waiting(jobs: list[Job], folder: Path) -> list[Job]:
    """The trainings whose results are not there yet.

    Raises:
        ValueError: If a file holds the results of a training with other settings.
    """
    left = []
    for job in jobs:
        file = job.file(folder)
        if not file.exists():
            left.append(job)
            continue
        kept, asked = json.loads(file.read_text())["run"], json.loads(json.dumps(job.described()))
        other = [key for key in asked if kept.get(key) != asked[key]]
        if other:
            raise ValueError(
                f"{file} was trained with another {', '.join(other)}: give this training a --label "
                "of its own, or another --folder."
            )
    return left


class Progress:
    """Prints how far trainings are, and when all of them will have ended."""

    def __init__(self, jobs: list[Job], console: Console):
        self._console = console
        self._done = dict.fromkeys(map(str, jobs), 0)
        self._total = sum(job.steps for job in jobs)
        self._begin = time.monotonic()
        self._printed: dict[str, float] = {}

    def point(self, job: Job, point: dict[str, Any]) -> None:
        """Prints a point of a curve, if that training's last line is old enough or it has ended."""
        steps = point["env steps"]
        self._done[str(job)] = min(steps, job.steps)  # the last batch may go beyond
        now = time.monotonic()
        if steps < job.steps and now - self._printed.get(str(job), 0.0) < PATIENCE:
            return
        self._printed[str(job)] = now
        rate, done = steps / point["seconds"], sum(self._done.values())
        left = (now - self._begin) / done * max(0, self._total - done)
        self._console.print(
            f"{job}: {steps:,} of {job.steps:,} env steps, return {point['return']}, "
            f"{rate:,.0f} env steps/s, {_time((job.steps - steps) / rate)} left; "
            f"all: {done / self._total:.0%}, {_time(left)} left"
        )


def _time(seconds: float) -> str:
    minutes = round(max(0.0, seconds) / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def run(jobs: list[Job], folder: Path, side_by_side: int, console: Console) -> list[str]:
    """Runs trainings in processes of their own; returns those that failed."""
    spawn = multiprocessing.get_context("spawn")
    told, left = spawn.Queue(), list(jobs)
    running: dict[str, Any] = {}
    failed, progress = [], Progress(jobs, console)
    while left or running:
        while left and len(running) < side_by_side:
            job = left.pop(0)
            running[str(job)] = spawn.Process(target=train, args=(job, folder, told.put))
            running[str(job)].start()
        with contextlib.suppress(queue.Empty):
            progress.point(*told.get(timeout=1.0))
        for name, process in list(running.items()):
            if not process.is_alive():
                del running[name]
                if process.exitcode:
                    failed.append(name)
                    console.print(f"{name} failed: exit code {process.exitcode}")
    return failed


def main() -> None:
    """Trains or prints, as the command line asks."""
    arguments = command_line().parse_args()
    console = Console(highlight=False, soft_wrap=True)
    if arguments.table:
        from suite_table import show

        return show(arguments, console)
    try:
        jobs = jobs_of(arguments)
        left = waiting(jobs, arguments.folder)
    except ValueError as error:
        sys.exit(str(error))
    console.print(f"{len(left)} trainings to run, {len(jobs) - len(left)} are there")
    failed = run(left, arguments.folder, arguments.side_by_side, console)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
