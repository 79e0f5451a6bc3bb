"""The picture of the suite: all tasks, all policies, the mean and the range over the seeds."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from suite_table import Row, families
from suite_tasks import task_of

COLUMNS = 4
STYLES = ("-", "--", ":", "-.")  # readable without colour too


def draw(rows: list[Row], out: Path) -> None:
    """Draws a panel for each task and one for each family of tasks."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    grouped = families(rows)
    alone = [row for row in rows if task_of(row["task"]).family is None]
    tasks = list(dict.fromkeys(row["task"] for row in alone))
    n_panels = len(tasks) + len(grouped)
    n_columns = min(COLUMNS, n_panels)
    n_rows = -(-n_panels // n_columns)
    figure = Figure(figsize=(3.2 * n_columns, 0.6 + 2.4 * n_rows), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flatten())
    for panel in panels[n_panels:]:
        panel.set_axis_off()
    for name in tasks:
        _curves(panels.pop(0), name, [row for row in alone if row["task"] == name], policies)
    for family, of_family in grouped.items():
        _family(panels.pop(0), family, of_family, policies)
    if tasks:
        figure.supylabel("mean return, or what a panel says", fontsize=9)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(
        [lines[policy] for policy in policies], policies, loc="outside upper center", ncols=6
    )
    figure.savefig(out, dpi=110)


def _curves(panel: Any, name: str, rows: list[Row], policies: list[str]) -> None:
    """Learning curves of one task."""
    for row in rows:
        curves = [np.array(curve) for curve in row["curves"]]
        steps = curves[0][:, 0]
        values = [np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves]
        _line(panel, row["policy"], policies, steps / 1000, np.stack(values))
    suffix = "" if rows[0]["measure"] == "return" else f": {rows[0]['measure']}"
    _title(panel, name + suffix, "thousand env steps")


def _family(panel: Any, family: str, rows: list[Row], policies: list[str]) -> None:
    """What was reached at each number of a family."""
    measure = "regret" if "regret" in rows[0] else "last tenth"
    for policy in policies:
        of_policy = [row for row in rows if row["policy"] == policy]
        if of_policy:
            numbers = np.array([task_of(row["task"]).number for row in of_policy])
            n_seeds = min(len(row[measure]) for row in of_policy)
            values = np.array([row[measure][:n_seeds] for row in of_policy]).T
            _line(panel, policy, policies, numbers, values, marker=".")
    numbers = sorted({task_of(row["task"]).number for row in rows})
    if len(numbers) <= COLUMNS:
        panel.set_xticks(numbers)
    _title(panel, f"{family}: {'regret' if measure == 'regret' else 'success'}", "number")


def _line(
    panel: Any,
    policy: str,
    policies: list[str],
    x: np.ndarray,
    values: np.ndarray,
    marker: str = "",
) -> None:
    """The mean of several seeds' values (seeds, n), and their range."""
    number = policies.index(policy)
    look = {"color": f"C{number}", "linestyle": STYLES[number % len(STYLES)], "marker": marker}
    panel.plot(x, values.mean(axis=0), label=policy, linewidth=1.3, **look)
    panel.fill_between(
        x, values.min(axis=0), values.max(axis=0), color=f"C{number}", alpha=0.2, linewidth=0
    )


def _title(panel: Any, title: str, x: str) -> None:
    panel.set_title(title, fontsize=9)
    panel.set_xlabel(x, fontsize=8)
    panel.tick_params(labelsize=8)
