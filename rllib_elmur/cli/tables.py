"""An evaluation's rows as a table on the screen, as CSV or JSON, or as a figure."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from rllib_elmur.errors import UserError
from rllib_elmur.runs.evaluate import Row

_STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"), ("v", (0, (5, 1))), ("x", (0, (1, 1))))


def tables_of(rows: list[Row]) -> Group:
    """A table for each checkpoint, without the columns that nothing can be said about."""
    names = list(dict.fromkeys(row.checkpoint for row in rows))
    return Group(
        *(
            _table([row for row in rows if row.checkpoint == name], name if names[1:] else None)
            for name in names
        )
    )


def _table(rows: list[Row], title: str | None) -> Table:
    corridors = any(row.corridor_length is not None for row in rows)
    success = any(row.success is not None for row in rows)
    columns = [
        ("corridor length", corridors, lambda r: _length(r.corridor_length)),
        ("episodes", True, lambda r: f"{r.episodes}"),
        ("success", success, lambda r: "-" if r.success is None else f"{r.success:.3f}"),
        ("return", True, lambda r: f"{r.episode_return:.3f}"),
        ("steps", True, lambda r: f"{r.episode_length:,.1f}"),
        ("steps per second", True, lambda r: f"{r.steps_per_second:,.0f}"),
    ]
    table = Table(title=title, title_justify="left", title_style="bold")
    shown = [column for column in columns if column[1]]
    for heading, _, _ in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell(row) for _, _, cell in shown))
    return table


def check_out(out: Path, formats: tuple[str, ...] = (".csv", ".json", ".png")) -> None:
    """Refuses a file that `write` could not write, before time is spent on its content.

    Raises:
        UserError: If the format is unknown or the folder missing.
    """
    if out.suffix not in formats:
        raise UserError(f"--out {out}: must end in {' or '.join(formats)}.")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: no such folder.")


def write(rows: list[Row], out: Path) -> None:
    """Writes the rows as .csv or .json, or success against corridor length as .png."""
    records = [dataclasses.asdict(row) for row in rows]
    if out.suffix == ".json":
        out.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    elif out.suffix == ".csv":
        with open(out, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    else:
        _draw(rows, out)


def _draw(rows: list[Row], out: Path) -> None:
    from matplotlib.figure import Figure

    from rllib_elmur.report.pictures import log_axis

    points = [row for row in rows if isinstance(row.corridor_length, int)]
    if not points or any(row.success is None for row in points):
        raise UserError(
            f"--out {out}: a figure needs rows with a success and a corridor_length, such as "
            "--env-config '{\"corridor_length\": [10, 100, 1000]}'."
        )
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(dict.fromkeys(row.checkpoint for row in points)):
        marker, line = _STYLES[index % len(_STYLES)]
        curve = sorted((r.corridor_length, r.success) for r in points if r.checkpoint == name)
        # Shades of grey beside marker and line: told apart in print too.
        shade: Any = str(0.55 * (index % 3) / 2)
        axes.plot(*zip(*curve, strict=True), marker=marker, linestyle=line, color=shade, label=name)
    log_axis(axes)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("corridor length (steps)", fontsize=13)
    axes.set_ylabel("success", fontsize=13)
    axes.tick_params(labelsize=12)
    figure.legend(fontsize=11, loc="outside upper left", frameon=False)
    figure.savefig(out, dpi=100)


def _length(length: Any) -> str:
    if length is None:
        return "-"
    return f"{length:,}" if isinstance(length, int) else "-".join(map(str, length))
