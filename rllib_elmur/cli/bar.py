"""The bar of what takes long, on a terminal alone."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


def progress_bar(console: Console, title: str, done: str) -> Progress:
    """A bar that vanishes when it is done.

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
