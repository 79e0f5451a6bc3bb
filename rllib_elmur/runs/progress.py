"""The line of each iteration, and what Ctrl-C does while training."""

import os
import signal
from collections import defaultdict, deque
from collections.abc import Mapping
from math import isnan
from typing import Any

from ray.tune import Callback
from ray.tune.utils.util import flatten_dict
from rich.console import Console

from rllib_elmur.errors import nearest

_STEPS = "num_env_steps_sampled_lifetime"
_SECONDS = "time_total_s"
_HEADER = f"{'iter':>5} {'env steps':>11} {'success':>8} {'length':>8} {'return':>9} {'steps/s':>8}"
_WINDOW = 10
_MISSING_AFTER = 5


class Progress(Callback):
    """Prints one line per iteration; on Ctrl-C lets every running trial save, then stops."""

    def __init__(self, console: Console, criteria: Mapping[str, float], labels: list[str]):
        self.interrupted = False
        self._console = console
        self._criteria = dict(criteria)
        self._labels = labels
        self._history: dict[str, deque[dict[str, float]]] = defaultdict(
            lambda: deque(maxlen=_WINDOW)
        )
        self._asked: set[str] = set()
        self._saved: set[str] = set()
        self._former_handler: Any = None
        self._begun = self._announced = self._header_printed = False

    def __getstate__(self) -> dict[str, Any]:
        # Tune stores its callbacks with an experiment; a resumed one gets a new object of these.
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Takes over Ctrl-C, and stops once it was pressed and every running trial is saved."""
        if not self._begun:
            # Not before: by now Tune listens to the signal with which it is stopped here.
            self._begun = True
            self._former_handler = signal.signal(signal.SIGINT, self._interrupt)
        if not self.interrupted:
            return
        # A trial without a result so far has learned nothing that could be lost.
        running = {t.trial_id for t in trials if t.status == "RUNNING"} & set(self._history)
        if running <= self._saved:
            # Tune's own signal for ending an experiment in such a way that it can be resumed.
            os.kill(os.getpid(), signal.SIGUSR1)
        elif not self._announced:
            self._announced = True
            self._console.print(
                "Stopping: the running iteration ends, then a checkpoint is saved "
                "(Ctrl-C again: stop at once).",
                soft_wrap=True,
            )

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Sets the criteria anew: a resumed trial comes with those it was begun with."""
        trial.stopping_criterion = self._criteria

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Prints the iteration's line."""
        flat = flatten_dict(result)
        values = {name: float(flat[name]) for name in self._criteria if name in flat}
        values |= {_STEPS: float(flat.get(_STEPS, 0)), _SECONDS: flat.get(_SECONDS, 0.0)}
        history = self._history[trial.trial_id]
        if not history and flat.get("training_iteration") == 1:
            history.append(dict.fromkeys(values, 0.0))
        history.append(values)
        self._print(trials, trial, flat)
        if self.interrupted:
            result["should_checkpoint"] = True
            self._asked.add(trial.trial_id)

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Remembers which trials have been saved since Ctrl-C was pressed."""
        if trial.trial_id in self._asked:
            self._saved.add(trial.trial_id)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Gives Ctrl-C back."""
        if self._begun:
            signal.signal(signal.SIGINT, self._former_handler)

    def _interrupt(self, number: int, frame: Any) -> None:
        # Nothing is printed here: the signal may have come in the midst of printing a line.
        if self.interrupted:
            os.kill(os.getpid(), signal.SIGUSR1)
        self.interrupted = True

    def _print(self, trials: list[Any], trial: Any, flat: dict[str, Any]) -> None:
        if not self._header_printed:
            self._header_printed = True
            self._console.print(f"{_HEADER}  left", style="bold", highlight=False)
        iteration = flat.get("training_iteration", 0)
        line = (
            f"{iteration:>5} {flat.get(_STEPS, 0):>11,.0f}"
            f" {_number(flat.get('env_runners/success'), '.3f'):>8}"
            f" {_number(flat.get('env_runners/episode_len_mean'), '.1f'):>8}"
            f" {_number(flat.get('env_runners/episode_return_mean'), '.3f'):>9}"
            f" {_number(self._rate(trial, _STEPS, last=True), ',.0f'):>8}  {self._left(trial):<8}"
        )
        label = self._labels[int(trial.trial_id.rsplit("_", 1)[-1])] if len(trials) > 1 else ""
        if flat.get("certified") == 1:
            label = f"proven for every length {label}"
        self._console.print(f"{line} {label}".rstrip(), highlight=False, soft_wrap=True)
        if iteration == _MISSING_AFTER:
            for name in set(self._criteria) - set(flat):
                self._console.print(
                    f"The stop criterion {name!r} is not among the results and will not be "
                    f"reached.{nearest(name, flat)}",
                    style="yellow",
                )

    def _rate(self, trial: Any, name: str, last: bool = False) -> float | None:
        """Growth of a result per second, over the last iterations or the last one."""
        history = self._history[trial.trial_id]
        if len(history) < 2:
            return None  # Resumed a moment ago.
        old, new = history[-2 if last else 0], history[-1]
        seconds = new[_SECONDS] - old[_SECONDS]
        return (new[name] - old.get(name, 0.0)) / seconds if seconds > 0 else None

    def _left(self, trial: Any) -> str:
        """Time until the first of the criteria that grow with time is reached."""
        estimates = []
        for name, goal in self._criteria.items():
            grows = name.endswith("_lifetime") or name in ("training_iteration", _SECONDS)
            now = self._history[trial.trial_id][-1].get(name)
            rate = self._rate(trial, name) if grows and now is not None else None
            if rate and now is not None:
                estimates.append(max(goal - now, 0.0) / rate)
        return _clock(min(estimates)) if estimates else "-"


def _number(value: Any, form: str) -> str:
    return "-" if value is None or isnan(value) else format(value, form)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
