"""The callback that certifies a policy while RLlib trains it."""

import copy
from math import nan
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_elmur.plugin.environments import env_maker
from rllib_elmur.plugin.process import one_thread
from rllib_elmur.plugin.success import SuccessMetric, write_success
from rllib_elmur.proof.certify import check_config, require_finite
from rllib_elmur.proof.search import Certificate, check_all_episodes


class CertifyMemory(SuccessMetric):
    """Reports `success`, and certifies the policy once success is high (see `proof.certify`).

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
        write_success(result)
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
                found = check_all_episodes(network, task, self._MAX_STATES)
            self._seconds += found.seconds
            before, weights = weights, algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
            if all(np.array_equal(weights[name], value) for name, value in before.items()):
                return found


def report_certified(config: AlgorithmConfig) -> None:
    """Adds `CertifyMemory` to the config of a training that ends when its policy is certified.

    Raises:
        UserError: If the policy could not be certified.
    """
    check_config(config)
    present = config.callbacks_class
    present = present if isinstance(present, list) else [present]
    if CertifyMemory not in present:
        others = [callback for callback in present if callback is not SuccessMetric]
        config.callbacks([*others, CertifyMemory])
