"""Bars of what takes long, on a terminal alone."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rllib_elmur.runs.evaluate import Moment

_STEP = "step {task.fields[steps]:,} of at most {task.fields[most]:,}"


def progress_bar(console: Console, title: str, done: str) -> Progress:
    """A bar that vanishes when its work is done.

    Args:
        console: Where it is drawn, if that is a terminal.
        title: What stands before the bar; a format of Rich's with the field `task`.
        done: What stands behind it.
    """
    return Progress(
        TextColumn(title),
        BarColumn(),
        TextColumn(done),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class EpisodesBar:
    """The bar of an evaluation, and the episodes that are rendered as text."""

    def __init__(self, console: Console):
        self._console = console
        self._bar = progress_bar(console, "{task.description}", _STEP)
        self._task = self._bar.add_task("", total=None, steps=0, most=0)
        self._swept: dict[str, Any] | None = None

    def __enter__(self) -> "EpisodesBar":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, moment: Moment) -> None:
        """Draws how far the episodes are."""
        if moment.swept is not self._swept:
            self._swept = moment.swept
            title = ", ".join(
                f"{words(name)} {shown(value)}" for name, value in moment.swept.items()
            )
            self._bar.reset(self._task, description=title or "episodes", steps=0, most=moment.most)
        if moment.frame is not None:
            self._console.print(moment.frame, markup=False)
        self._bar.update(
            self._task, total=moment.episodes, completed=moment.ended, steps=moment.step
        )


def words(option: str) -> str:
    """An option's name as it stands in titles."""
    return option.replace("_", " ")


def shown(value: Any) -> str:
    """An option's value as it stands in titles and tables."""
    if isinstance(value, (list, tuple)):
        return "-".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
