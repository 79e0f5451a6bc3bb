"""An evaluation's rows as a table on the screen, as CSV or JSON, or as a figure."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from rllib_elmur.cli.progress_bar import shown, words
from rllib_elmur.errors import UserError
from rllib_elmur.runs.rows import Row

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
    columns = {
        words(option): [shown(row.swept[option]) for row in rows] for option in rows[0].swept
    }
    columns["episodes"] = [f"{row.episodes}" for row in rows]
    if any(row.success is not None for row in rows):
        columns["success"] = [_shown(row.success, ".3f") for row in rows]
    columns["return"] = [_shown(row.episode_return, ".3f") for row in rows]
    for module in dict.fromkeys(m for row in rows for m in row.module_episode_returns_mean):
        returns = [row.module_episode_returns_mean.get(module) for row in rows]
        columns[f"return of {module}"] = [_shown(value, ".3f") for value in returns]
    columns["steps"] = [_shown(row.episode_length, ",.1f") for row in rows]
    if any(row.unfinished for row in rows):
        columns["unfinished"] = [f"{row.unfinished}" for row in rows]
        columns["return so far"] = [_shown(row.unfinished_return, ".3f") for row in rows]
        columns["steps so far"] = [_shown(row.unfinished_length, ",.1f") for row in rows]
    columns["steps per second"] = [f"{row.steps_per_second:,.0f}" for row in rows]
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading, cells in columns.items():
        # On a narrow screen headings are broken, and figures are not.
        table.add_column(heading, justify="right", min_width=max(map(len, cells)))
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def note_on_unfinished(rows: list[Row], max_episode_steps: int) -> str | None:
    """The sentence on episodes that were left at the bound of their length; None without any."""
    left = sum(
        row.unfinished
        for row in rows
        if row.unfinished_length is not None and row.unfinished_length >= max_episode_steps
    )
    if not left:
        return None
    return (
        f"{left} episodes had not ended after {max_episode_steps:,} steps and are unfinished; "
        "--max-episode-steps N lets them go on."
    )


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
    """Writes the rows as .csv or .json, or success against a swept option as .png."""
    records = [_record(row) for row in rows]
    if out.suffix == ".json":
        out.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    elif out.suffix == ".csv":
        with open(out, "w", newline="", encoding="utf-8") as file:
            names = dict.fromkeys(name for record in records for name in record)
            writer = csv.DictWriter(file, fieldnames=list(names))
            writer.writeheader()
            writer.writerows(records)
    else:
        _draw(rows, out)


def _record(row: Row) -> dict[str, Any]:
    """A row as a flat mapping: swept options stand beside the figures, metrics as RLlib's do."""
    figures = dataclasses.asdict(row)
    by_name = {
        f"{metric}/{name}": value
        for metric in ("agent_episode_returns_mean", "module_episode_returns_mean")
        for name, value in figures.pop(metric).items()
    }
    swept = {
        f"env_config/{option}" if option in figures else option: value
        for option, value in figures.pop("swept").items()
    }
    return {"checkpoint": figures.pop("checkpoint"), **swept, **figures, **by_name}


def _draw(rows: list[Row], out: Path) -> None:
    from matplotlib.figure import Figure

    from rllib_elmur.report.pictures import log_axis

    option = next((o for o in rows[0].swept if all(_is_number(r.swept[o]) for r in rows)), None)
    if option is None or any(row.success is None for row in rows):
        raise UserError(
            f"--out {out}: a figure needs rows with a success and a swept number, such as "
            "--sweep OPTION=10,100,1000."
        )
    curves: dict[str, list[tuple[float, float | None]]] = {}
    for row in rows:
        others = [f"{words(o)} {shown(value)}" for o, value in row.swept.items() if o != option]
        points = curves.setdefault(", ".join([row.checkpoint, *others]), [])
        points.append((row.swept[option], row.success))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, (name, points) in enumerate(curves.items()):
        marker, line = _STYLES[index % len(_STYLES)]
        # Shades of grey beside marker and line: told apart in print too.
        shade: Any = str(0.55 * (index % 3) / 2)
        x, y = zip(*sorted(points), strict=True)
        axes.plot(x, y, marker=marker, linestyle=line, color=shade, label=name)
    if all(isinstance(row.swept[option], int) and row.swept[option] > 0 for row in rows):
        log_axis(axes)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel(words(option), fontsize=13)
    axes.set_ylabel("success", fontsize=13)
    axes.tick_params(labelsize=12)
    figure.legend(fontsize=11, loc="outside upper left", frameon=False)
    figure.savefig(out, dpi=100)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
