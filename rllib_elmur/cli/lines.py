"""A training on the screen: one line per iteration."""

from collections.abc import Iterable
from math import isnan
from pathlib import Path

from rich.console import Console

from rllib_elmur.errors import nearest
from rllib_elmur.runs.progress import Iteration, Listener

_HEADER = f"{'iter':>5} {'env steps':>11} {'success':>8} {'length':>8} {'return':>9} {'steps/s':>8}"


class Lines(Listener):
    """Prints what is heard of a training."""

    def __init__(self, console: Console):
        self._console = console
        self._header_printed = False

    def on_begin(self, experiment: str, summary: str, folder: Path) -> None:
        """Prints what is trained, and where the results go."""
        self._header_printed = False
        self._console.print(f"{experiment}: {summary}. Results: {folder}", soft_wrap=True)

    def on_note(self, note: str) -> None:
        """Prints what the experiment goes without."""
        self._console.print(note, style="yellow", soft_wrap=True, markup=False)

    def on_iteration(self, iteration: Iteration) -> None:
        """Prints the iteration's line."""
        if not self._header_printed:
            self._header_printed = True
            self._console.print(f"{_HEADER}  left", style="bold", highlight=False)
        line = (
            f"{iteration.number:>5} {iteration.env_steps:>11,.0f}"
            f" {_number(iteration.success, '.3f'):>8}"
            f" {_number(iteration.episode_length, '.1f'):>8}"
            f" {_number(iteration.episode_return, '.3f'):>9}"
            f" {_number(iteration.steps_per_second, ',.0f'):>8}"
            f"  {_clock(iteration.seconds_left):<8}"
        )
        proven = "proven for every length " if iteration.certified else ""
        self._console.print(
            f"{line} {proven}{iteration.label}".rstrip(), highlight=False, soft_wrap=True
        )

    def on_stopping(self) -> None:
        """Prints what happens now."""
        self._console.print(
            "Stopping: the running iteration ends, then a checkpoint is saved "
            "(Ctrl-C again: stop at once).",
            soft_wrap=True,
        )

    def on_unreachable(self, criterion: str, results: Iterable[str]) -> None:
        """Warns of a criterion that is misspelt, or not reported."""
        self._console.print(
            f"The stop criterion {criterion!r} is not among the results and will not be reached."
            f"{nearest(criterion, results)}",
            style="yellow",
        )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or isnan(value) else format(value, form)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
