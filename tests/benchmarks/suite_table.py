"""The figures of the suite's files: rows for a file of the pages, and a table of them."""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from results import save, saved
from rich.console import Console
from rich.table import Table
from suite_envs import MEMORY_REGRET
from suite_tasks import TASKS, Task, chosen, task_of

POINTS = 100  # of a curve that is kept
# What a row has of each seed; the seeds come first.
OF_SEEDS = (
    *("seeds", "last tenth", "best tenth", "env steps per second"),
    *("regret", "solved", "curves"),
)
Row = dict[str, Any]


def read(folder: Path, tasks: list[str]) -> dict[tuple[str, str], list[Row]]:
    """The records of a folder's trainings, by task and policy, in the order of `TASKS`."""
    runs: dict[tuple[str, str], list[Row]] = defaultdict(list)
    wanted = chosen(tasks)
    for file in sorted(folder.glob("*/*.json")):
        record = json.loads(file.read_text())
        run = record["run"]
        if not tasks or run["task"] in wanted:
            runs[run["task"], run["label"]].append(record)
    return {
        key: sorted(runs[key], key=lambda r: r["run"]["seed"]) for key in sorted(runs, key=_place)
    }


def _place(key: tuple[str, str]) -> tuple[int, tuple[str, str]]:
    """Where a task and a policy stand: in the order of `TASKS`, other environments behind."""
    order = list(TASKS)
    return order.index(key[0]) if key[0] in order else len(order), key


def known(record: Row, measure: str) -> np.ndarray:
    """The points of a curve at which episodes have ended: env steps and the measure, (n, 2)."""
    points = [(row["env steps"], row[measure]) for row in record["rows"]]
    return np.array([point for point in points if point[1] is not None]).reshape(-1, 2)


def tenths(values: np.ndarray) -> tuple[float, float]:
    """The mean of the best tenth of a curve and that of its last tenth."""
    size = max(1, len(values) // 10)
    means = [values[i - size : i].mean() for i in range(size, len(values) + 1)]
    return round(float(max(means)), 4), round(float(means[-1]), 4)


def rows_of(runs: dict[tuple[str, str], list[Row]]) -> list[Row]:
    """A row for each task and policy: figures of all seeds, and their curves."""
    return [_row(task_of(name), records) for (name, _), records in runs.items()]


def _row(task: Task, records: list[Row]) -> Row:
    run, curves = records[0]["run"], [known(record, task.measure) for record in records]
    best, last = zip(*(tenths(curve[:, 1]) for curve in curves), strict=True)
    ends = [record["rows"][-1] for record in records]
    row: Row = {
        "task": run["task"],
        "policy": run["label"],
        "model": run["model"],
        "measure": task.measure,
        "seeds": [record["run"]["seed"] for record in records],
        "env steps": run["steps"],
        "last tenth": list(last),
        "best tenth": list(best),
        "fall": _fall(task, best, last),
        "env steps per second": [round(end["env steps"] / end["seconds"]) for end in ends],
    }
    if task.family and task.family.startswith("memory_"):
        # All iterations end about as many episodes. A random answer has a regret of one half.
        row["regret"] = [round(2 * (1 - float(curve[:, 1].mean())), 4) for curve in curves]
        row["solved"] = [regret < MEMORY_REGRET for regret in row["regret"]]
    return row | {"curves": [_thinned(curve) for curve in curves]}


def _fall(task: Task, best: Sequence[float], last: Sequence[float]) -> float:
    """How far a seed at most ends below its best, as a share of the task's span."""
    low, high = task.span
    # What lies beyond the span is not worth telling apart.
    fallen = np.subtract(*(np.clip(part, low, high) for part in (best, last)))
    return round(float(max(fallen)) / (high - low), 4)


def _thinned(curve: np.ndarray) -> list[list[float]]:
    """At most `POINTS` points of a curve; each is the mean of those it stands for."""
    parts = np.array_split(curve, min(POINTS, len(curve)))
    return [[int(part[-1, 0]), round(float(part[:, 1].mean()), 4)] for part in parts]


def beside(rows: list[Row], former: list[Row], tasks: list[str]) -> list[Row]:
    """Rows and former ones, of the same tasks and policies only the new ones, in `TASKS`' order."""
    wanted, new = chosen(tasks), {(row["task"], row["policy"]) for row in rows}
    kept = [row for row in former if not tasks or row["task"] in wanted]
    kept = [row for row in kept if (row["task"], row["policy"]) not in new]
    return sorted([*kept, *rows], key=lambda row: _place((row["task"], row["policy"])))


def joined(row: Row, former: Row) -> Row:
    """A row with the seeds of a former one too; of the same seed the row's own figures.

    Raises:
        ValueError: If the former one is of other trainings.
    """
    for key in ("measure", "env steps", "model"):
        if row[key] != former[key]:
            raise ValueError(
                f"{row['task']} {row['policy']}: seeds of {key} {former[key]} cannot be joined by "
                f"those of {row[key]}."
            )
    keys = [key for key in OF_SEEDS if key in row]
    by_seed = {
        values[0]: values
        for part in (former, row)
        for values in zip(*(part[key] for key in keys), strict=True)
    }
    columns = map(list, zip(*(by_seed[seed] for seed in sorted(by_seed)), strict=True))
    both = {**row, **dict(zip(keys, columns, strict=True))}
    return {**both, "fall": _fall(task_of(row["task"]), both["best tenth"], both["last tenth"])}


def families(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of the families that are one curve together, by family; in the order of numbers."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        family = task_of(row["task"]).family
        if family:
            found[family].append(row)
    return found


def solved(rows: list[Row]) -> str:
    """How many of bsuite's settings a policy solves, over all seeds."""
    each = [is_solved for row in rows for is_solved in row["solved"]]
    return f"{sum(each)} of {len(each)} solved"


def table_of(rows: list[Row]) -> Table:
    """The last tenth of each training: every policy's mean, and its range over the seeds."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    table = Table(title="Mean of the last tenth (range over the seeds)")
    for column in ("task", "measure", "env steps", *policies):
        table.add_column(column)
    chains = {k: v for k, v in families(rows).items() if k.startswith("memory_")}
    for name in dict.fromkeys(row["task"] for row in rows):
        if task_of(name).family in chains:
            continue
        of_task = {row["policy"]: row for row in rows if row["task"] == name}
        first = next(iter(of_task.values()))
        cells = [_cell(of_task[policy]) if policy in of_task else "-" for policy in policies]
        table.add_row(name, first["measure"], f"{first['env steps']:,}", *cells)
    for family, of_family in chains.items():
        by_policy = [[row for row in of_family if row["policy"] == policy] for policy in policies]
        table.add_row(family, "regret", "", *(solved(part) if part else "-" for part in by_policy))
    popgym = [row for row in rows if row["task"].startswith("popgym:")]
    if popgym:
        sums = [_sum([row for row in popgym if row["policy"] == policy]) for policy in policies]
        table.add_row("all of POPGym", "sum of returns", "", *sums)
    return table


def _sum(rows: list[Row]) -> str:
    total = sum(statistics.fmean(row["last tenth"]) for row in rows)
    return f"{total:.2f} of {len(rows)} tasks"


def _cell(row: Row) -> str:
    last = row["last tenth"]
    fall = f", fallen by {row['fall']:.0%} of the span" if row["fall"] > 0.1 else ""
    spread = f" ({min(last):.3f} to {max(last):.3f})" if len(last) > 1 else ""
    return f"{statistics.fmean(last):.3f}{spread}{fall}"


def show(arguments: argparse.Namespace, console: Console) -> None:
    """Prints the table, and draws and saves where asked for."""
    runs = read(arguments.folder, arguments.tasks or [])
    measured = {
        key: [r for r in records if len(known(r, task_of(key[0]).measure))]
        for key, records in runs.items()
    }
    rows = rows_of({key: records for key, records in measured.items() if records})
    if arguments.saved:
        former = {(row["task"], row["policy"]): row for row in saved(arguments.saved)}
        if arguments.join:
            try:
                rows = [joined(row, former.get((row["task"], row["policy"]), row)) for row in rows]
            except ValueError as error:
                raise SystemExit(str(error)) from None
        rows = beside(rows, [*former.values()], arguments.tasks or [])
    if not rows:
        raise SystemExit(f"{arguments.folder} holds no results of the suite.")
    console.print(table_of(rows))
    if arguments.picture:
        from suite_picture import draw

        draw(rows, arguments.picture)
    save(arguments.save, rows)
