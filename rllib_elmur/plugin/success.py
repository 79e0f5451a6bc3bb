"""The metric `success`: the share of episodes whose last info says so."""

from math import nan
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

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
        success = success_in(episode.get_infos(-1))
        if success is not None and metrics_logger is not None:
            metrics_logger.log_value(_SUCCESSES, success, reduce="sum")
            metrics_logger.log_value(_EPISODES, 1, reduce="sum")

    def on_train_result(self, *, algorithm, metrics_logger=None, result, **kwargs) -> None:
        """Writes the iteration's mean into the result."""
        write_success(result)

    def on_evaluate_end(
        self, *, algorithm, metrics_logger=None, evaluation_metrics, **kwargs
    ) -> None:
        """Writes the evaluation's mean into its result."""
        write_success(evaluation_metrics)


def success_in(info: dict[str, Any]) -> float | None:
    """What an episode's last info says of its success, of several agents their mean."""
    infos = info.values() if "success" not in info else [info]
    outcomes = [float(i["success"]) for i in infos if isinstance(i, dict) and "success" in i]
    return sum(outcomes) / len(outcomes) if outcomes else None


def write_success(result: dict[str, Any]) -> None:
    """Writes the metric `success` into a result, in place of the sums that it is made of."""
    metrics = result.get("env_runners")
    if metrics is not None:
        total, count = metrics.pop(_SUCCESSES, 0.0), metrics.pop(_EPISODES, 0)
        if count > 0:
            metrics["success"] = float(total / count)
        # Written always: Tune's progress.csv has the columns of the first result. But a second
        # callback of this kind, such as a curriculum beside a certificate, finds no sums any more.
        metrics.setdefault("success", nan)
