"""RLlib callbacks that every training of this package's command carries."""

import copy
from math import nan
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_elmur.experiments.certify import check_config, require_finite
from rllib_elmur.experiments.closure import Certificate, close
from rllib_elmur.experiments.cluster import one_thread
from rllib_elmur.experiments.environment import env_maker

# Sums are kept rather than a mean: RLlib averages the means of env runners and of sampling rounds,
# whatever the number of episodes behind each.
_SUCCESSES = "success_sum"
_EPISODES = "success_episodes"


class SuccessMetric(RLlibCallback):
    """Reports `success`, the mean of ``info["success"]`` over an iteration's finished episodes.

    It stands at ``env_runners/success`` of the results, and is NaN in an iteration in which no
    episode with a `success` in its last info has finished.
    """

    def on_episode_end(self, *, episode, metrics_logger=None, **kwargs) -> None:
        """Counts the episode, if its last info says whether it was a success."""
        info = episode.get_infos(-1)
        infos = info.values() if "success" not in info else [info]
        outcomes = [float(i["success"]) for i in infos if isinstance(i, dict) and "success" in i]
        if outcomes and metrics_logger is not None:
            metrics_logger.log_value(_SUCCESSES, sum(outcomes) / len(outcomes), reduce="sum")
            metrics_logger.log_value(_EPISODES, 1, reduce="sum")

    def on_train_result(self, *, algorithm, metrics_logger=None, result, **kwargs) -> None:
        """Writes the iteration's mean into the result."""
        _divide(result)

    def on_evaluate_end(
        self, *, algorithm, metrics_logger=None, evaluation_metrics, **kwargs
    ) -> None:
        """Writes the evaluation's mean into its result."""
        _divide(evaluation_metrics)


def _divide(result: dict[str, Any]) -> None:
    metrics = result.get("env_runners")
    if metrics is not None:
        total, count = metrics.pop(_SUCCESSES, 0.0), metrics.pop(_EPISODES, 0)
        # Written always: Tune's progress.csv has the columns of the first result.
        metrics["success"] = float(total / count) if count > 0 else nan


class CertifyMemory(SuccessMetric):
    """`SuccessMetric`, and once success has come a certificate (see `experiments.certify`).

    Reports `certified` (1 or 0; NaN in an iteration that was not checked), `certificate_states`,
    `certificate_gap` and `certificate_seconds` at the top of an iteration's results. A check that
    took long is followed by iterations without one: none begins while all checks together have
    taken more than a tenth of the time of training, and none goes on beyond 10,000 states.

    A training with the stop criterion `certified` has this callback by itself.
    """

    _SUCCESS, _SHARE, _MAX_STATES = 0.99, 0.1, 10_000

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._env: Any = None

    def on_train_result(self, *, algorithm, metrics_logger=None, result, **kwargs) -> None:
        """Checks the policy that the iteration ends with."""
        _divide(result)
        # Always written, as `success` is.
        names = "certified", *(f"certificate_{name}" for name in ("states", "gap", "seconds"))
        result.update(dict.fromkeys(names, nan))
        success = result.get("env_runners", {}).get("success", nan)
        trained = result.get("time_total_s", nan)  # without the time of checks
        if not success >= self._SUCCESS or self._seconds > self._SHARE * trained:
            return
        if self._env is None:
            self._env = env_maker(algorithm.config.env)(dict(algorithm.config.env_config))
        found = self._certify(algorithm)
        values = float(found.verdict == "proven"), found.states, found.gap, found.seconds
        result.update(zip(names, values, strict=True))

    def _certify(self, algorithm: Any) -> Certificate:
        """The certificate of the weights that the learner is left with.

        An asynchronous algorithm does not update the module of its local env runner, and its
        learner goes on for as long as it has batches.
        """
        module = copy.deepcopy(algorithm.get_module())
        weights = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
        while True:
            module.set_state(weights)
            network, task = require_finite(module, self._env)
            with one_thread():
                found = close(network, task, self._MAX_STATES)
            self._seconds += found.seconds
            before, weights = weights, algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
            if all(np.array_equal(weights[name], value) for name, value in before.items()):
                return found


def report_certified(config: AlgorithmConfig) -> None:
    """Lets a training report `certified`, on which its end depends.

    Raises:
        UserError: If the policy could not be certified.
    """
    check_config(config)
    present = config.callbacks_class
    present = present if isinstance(present, list) else [present]
    if CertifyMemory not in present:
        others = [callback for callback in present if callback is not SuccessMetric]
        config.callbacks([*others, CertifyMemory])


class RestoreFrom:
    """An `on_algorithm_init` callback that loads a checkpoint's state into a new algorithm."""

    def __init__(self, checkpoint: str):
        self.checkpoint = checkpoint

    def __call__(self, *, algorithm, **kwargs) -> None:
        """Loads weights, optimizers, counters and connector states."""
        algorithm.restore_from_path(self.checkpoint)
