"""What is heard of a training while it runs, and what Ctrl-C does to it."""

import signal
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.utils.util import flatten_dict

from rllib_elmur.plugin.ray_files import number_of, set_stop

_STEPS = "num_env_steps_sampled_lifetime"
_SECONDS = "time_total_s"
_WINDOW = 10
_MISSING_AFTER = 5


@dataclass(frozen=True)
class Iteration:
    """The figures of one training iteration; None where RLlib reports nothing.

    Attributes:
        number: Which iteration of its trial.
        env_steps: Environment steps of the trial so far.
        success: Share of successful episodes.
        episode_length: Mean number of steps.
        episode_return: Mean return.
        steps_per_second: Environment steps per second.
        seconds_left: Until the first of the stop criteria that grow with time is reached.
        certified: Whether the policy is proven for every episode.
        label: What sets the trial apart from its siblings; empty without any.
    """

    number: int
    env_steps: float
    success: float | None
    episode_length: float | None
    episode_return: float | None
    steps_per_second: float | None
    seconds_left: float | None
    certified: bool
    label: str


class Listener:
    """Hears how a training goes. These methods do nothing; the screen's print."""

    def on_begin(self, experiment: str, summary: str, folder: Path) -> None:
        """Called when an experiment begins or is resumed."""

    def on_note(self, note: str) -> None:
        """Called with a sentence on what an experiment goes without, and the line that mends it."""

    def on_iteration(self, iteration: Iteration) -> None:
        """Called after each iteration of each trial."""

    def on_stopping(self) -> None:
        """Called when Ctrl-C was pressed and running trials are going to be saved."""

    def on_unreachable(self, criterion: str, results: Iterable[str]) -> None:
        """Called if a stop criterion is not among the names of the results."""


class Progress(Callback):
    """Tells a listener of each iteration; on Ctrl-C lets every running trial save, then stops."""

    def __init__(self, listener: Listener, criteria: Mapping[str, float], labels: list[str]):
        self.interrupted = False
        self._listener = listener
        self._criteria = dict(criteria)
        self._labels = labels
        self._history: dict[str, deque[dict[str, float]]] = defaultdict(
            lambda: deque(maxlen=_WINDOW)
        )
        self._asked: set[str] = set()
        self._saved: set[str] = set()
        self._handler_before_tune = signal.getsignal(signal.SIGINT)
        self._stop_tune: Callable[[int, Any], Any] | None = None
        self._announced = False

    def __getstate__(self) -> dict[str, Any]:
        # Tune stores its callbacks with an experiment; a resumed one gets a new object of these.
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Takes over Ctrl-C, and stops once it was pressed and every running trial is saved."""
        if self._stop_tune is None:
            # What Tune does at Ctrl-C ends an experiment in such a way that it can be resumed.
            handler: Any = signal.signal(signal.SIGINT, self._interrupt)
            self._stop_tune = handler
        if not self.interrupted:
            return
        # A trial without a result so far has learned nothing that could be lost.
        running = {t.trial_id for t in trials if t.status == "RUNNING"} & set(self._history)
        if running <= self._saved:
            self._stop_tune(signal.SIGINT, None)
        elif not self._announced:
            self._announced = True
            self._listener.on_stopping()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Sets the criteria anew: a resumed trial comes with those it was begun with."""
        set_stop(trial, self._criteria)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tells of the iteration."""
        flat = flatten_dict(result)
        values = {name: float(flat[name]) for name in self._criteria if name in flat}
        values |= {_STEPS: float(flat.get(_STEPS, 0)), _SECONDS: flat.get(_SECONDS, 0.0)}
        history = self._history[trial.trial_id]
        if not history and flat.get("training_iteration") == 1:
            history.append(dict.fromkeys(values, 0.0))
        history.append(values)
        self._tell(trials, trial, flat)
        if self.interrupted:
            result["should_checkpoint"] = True
            self._asked.add(trial.trial_id)

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Remembers which trials have been saved since Ctrl-C was pressed."""
        if trial.trial_id in self._asked:
            self._saved.add(trial.trial_id)

    def end(self) -> None:
        """Gives Ctrl-C back when Tune has ended."""
        if self._stop_tune is None:
            # Pressed before the first step, Tune has given it back itself.
            self.interrupted = signal.getsignal(signal.SIGINT) is self._handler_before_tune
        signal.signal(signal.SIGINT, self._handler_before_tune)

    def _interrupt(self, number: int, frame: Any) -> None:
        # Nothing is printed here: the signal may have come in the midst of printing a line.
        if self.interrupted and self._stop_tune is not None:
            self._stop_tune(signal.SIGINT, None)
        self.interrupted = True

    def _tell(self, trials: list[Any], trial: Any, flat: dict[str, Any]) -> None:
        iteration = Iteration(
            number=flat.get("training_iteration", 0),
            env_steps=flat.get(_STEPS, 0),
            success=flat.get("env_runners/success"),
            episode_length=flat.get("env_runners/episode_len_mean"),
            episode_return=flat.get("env_runners/episode_return_mean"),
            steps_per_second=self._rate(trial, _STEPS, last=True),
            seconds_left=self._seconds_left(trial),
            certified=flat.get("certified") == 1,
            label=self._labels[int(number_of(trial))] if len(trials) > 1 else "",
        )
        self._listener.on_iteration(iteration)
        if iteration.number == _MISSING_AFTER:
            for name in set(self._criteria) - set(flat):
                self._listener.on_unreachable(name, flat)

    def _rate(self, trial: Any, name: str, last: bool = False) -> float | None:
        """Growth of a result per second, over the last iterations or the last one."""
        history = self._history[trial.trial_id]
        if len(history) < 2:
            return None  # Resumed a moment ago.
        old, new = history[-2 if last else 0], history[-1]
        seconds = new[_SECONDS] - old[_SECONDS]
        return (new[name] - old.get(name, 0.0)) / seconds if seconds > 0 else None

    def _seconds_left(self, trial: Any) -> float | None:
        """Time until the first of the criteria that grow with time is reached."""
        estimates = []
        for name, goal in self._criteria.items():
            grows = name.endswith("_lifetime") or name in ("training_iteration", _SECONDS)
            now = self._history[trial.trial_id][-1].get(name)
            rate = self._rate(trial, name) if grows and now is not None else None
            if rate and now is not None:
                estimates.append(max(goal - now, 0.0) / rate)
        return min(estimates, default=None)
