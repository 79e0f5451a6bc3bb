"""The figures of the suite's files: a table, a picture, and a file for the pages."""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from results import save
from rich.console import Console
from rich.table import Table
from suite_tasks import TASKS, Task, chosen

POINTS = 100  # of a curve in the picture
COLUMNS = 4
# Readable without colour too.
STYLES = ("-", "--", ":", "-.")

Runs = dict[tuple[str, str], list[dict[str, Any]]]  # of a task and a policy, by seed


def read(folder: Path, tasks: list[str]) -> Runs:
    """The records of a folder's trainings, by task and policy, in the order of `TASKS`."""
    runs: Runs = defaultdict(list)
    for file in sorted(folder.glob("*/*.json")):
        record = json.loads(file.read_text())
        run = record["run"]
        ended = any(row["return"] is not None for row in record["rows"])
        if ended and (not tasks or run["task"] in chosen(tasks)):
            runs[run["task"], run["label"]].append(record)
    order = list(TASKS)

    def place(key: tuple[str, str]) -> tuple[int, tuple[str, str]]:
        return order.index(key[0]) if key[0] in order else len(order), key

    return {
        key: sorted(runs[key], key=lambda r: r["run"]["seed"]) for key in sorted(runs, key=place)
    }


def tenths(record: dict[str, Any]) -> tuple[float, float]:
    """The mean return of the best tenth of a curve and that of its last tenth."""
    returns = [row["return"] for row in record["rows"] if row["return"] is not None]
    size = max(1, len(returns) // 10)
    means = [statistics.fmean(returns[i - size : i]) for i in range(size, len(returns) + 1)]
    return max(means), means[-1]


def rows_of(runs: Runs) -> list[dict[str, Any]]:
    """A row for each task and policy: figures of all seeds, and their curves."""
    rows = []
    for (name, label), records in runs.items():
        best, last = zip(*map(tenths, records), strict=True)
        low, high = TASKS.get(name, Task("")).span
        ends = [record["rows"][-1] for record in records]
        rows.append(
            {
                "task": name,
                "policy": label,
                "model": records[0]["run"]["model"],
                "seeds": [record["run"]["seed"] for record in records],
                "env steps": records[0]["run"]["steps"],
                "last tenth": [round(x, 4) for x in last],
                "best tenth": [round(x, 4) for x in best],
                "fall": round(max(np.subtract(best, last)) / (high - low), 4),
                "env steps per second": [round(r["env steps"] / r["seconds"]) for r in ends],
                "curves": [_thinned(record["rows"]) for record in records],
            }
        )
    return rows


def _thinned(rows: list[dict[str, Any]]) -> list[list[float]]:
    """At most `POINTS` points of a curve: env steps and return, the mean of what is left out."""
    known = [(row["env steps"], row["return"]) for row in rows if row["return"] is not None]
    parts = np.array_split(np.array(known), min(POINTS, len(known)))
    return [[int(part[-1, 0]), round(float(part[:, 1].mean()), 4)] for part in parts]


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The returns of the last tenth, each policy's mean and its range over the seeds."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    table = Table(title="Mean return of the last tenth (range over the seeds; fall since the best)")
    for column in ("task", "env steps", *policies):
        table.add_column(column)
    for name in dict.fromkeys(row["task"] for row in rows):
        of_task = {row["policy"]: row for row in rows if row["task"] == name}
        steps = next(iter(of_task.values()))["env steps"]
        cells = [_cell(of_task[policy]) if policy in of_task else "-" for policy in policies]
        table.add_row(name, f"{steps:,}", *cells)
    return table


def _cell(row: dict[str, Any]) -> str:
    last = row["last tenth"]
    fall = f"; falls {row['fall']:.0%}" if row["fall"] > 0.1 else ""
    spread = f" ({min(last):.3f} to {max(last):.3f})" if len(last) > 1 else ""
    return f"{statistics.fmean(last):.3f}{spread}{fall}"


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Draws a panel for each task: every policy's mean return, and the range over its seeds."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    n_columns = min(COLUMNS, len(tasks))
    n_rows = -(-len(tasks) // n_columns)
    figure = Figure(figsize=(3.2 * n_columns, 0.6 + 2.4 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for panel, name in zip(panels, tasks, strict=False):
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=8)
        for row in (row for row in rows if row["task"] == name):
            number = policies.index(row["policy"])
            _draw_curves(panel, row, f"C{number}", STYLES[number % len(STYLES)])
    for panel in panels[len(tasks) :]:
        panel.set_axis_off()
    figure.supxlabel("env steps (thousands)", fontsize=9)
    figure.supylabel("mean return", fontsize=9)
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.legend(
        [lines[policy] for policy in policies], policies, loc="outside upper center", ncols=6
    )
    figure.savefig(out, dpi=110)


def _draw_curves(panel: Any, row: dict[str, Any], colour: str, style: str) -> None:
    curves = [np.array(curve) for curve in row["curves"]]
    steps = curves[0][:, 0]
    returns = np.stack([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves])
    label = row["policy"]
    panel.plot(steps / 1000, returns.mean(axis=0), style, color=colour, label=label, linewidth=1.3)
    panel.fill_between(
        steps / 1000, returns.min(axis=0), returns.max(axis=0), color=colour, alpha=0.2, linewidth=0
    )


def show(arguments: argparse.Namespace, console: Console) -> None:
    """Prints the table, and draws and saves where asked for."""
    rows = rows_of(read(arguments.folder, arguments.tasks or []))
    if not rows:
        raise SystemExit(f"{arguments.folder} holds no results of the suite.")
    console.print(table_of(rows))
    if arguments.picture:
        draw(rows, arguments.picture)
    save(arguments.save, rows)
