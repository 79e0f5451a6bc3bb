"""The callback that certifies a policy while RLlib trains it."""

import copy
from math import nan
from typing import Any, ClassVar

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_elmur.plugin.environments import env_maker, evaluation_options
from rllib_elmur.plugin.process import one_thread
from rllib_elmur.plugin.success import SuccessMetric, write_success
from rllib_elmur.proof.certificate import Certificate
from rllib_elmur.proof.certify import check_config, require_rounded
from rllib_elmur.proof.description import Describe, finite_task_of
from rllib_elmur.proof.search import check_all_episodes


class CertifyMemory(SuccessMetric):
    """Reports `success`, and certifies the policy once success is high (see `proof.certify`).

    What is certified is the environment of the training's evaluation, as `rllib certify` does.

    In a task whose episodes do not tell `success`, a check takes place in any iteration.

    Reports `certified` (1 or 0; NaN in an iteration that was not checked), `certificate_states`,
    `certificate_gap` and `certificate_seconds` at the top of an iteration's results. A check that
    took long is followed by iterations without one: none begins while all checks together have
    taken more than a tenth of the time of training, and none goes on beyond 10,000 states.

    A training with the stop criterion `certified` has this callback by itself. An environment
    without a method `finite_task` is described by `task` of a class derived from this one.

    Attributes:
        task: A static method, from the environment to its `FiniteTask`; see `certify`.
    """

    task: ClassVar[Describe | None] = None

    _SUCCESS, _SHARE, _MAX_STATES = 0.99, 0.1, 10_000

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._env: Any = None
        self._finite: Any = None

    def on_train_result(self, *, algorithm, metrics_logger=None, result, **kwargs) -> None:
        """Checks the policy that the iteration ends with."""
        write_success(result)
        # Always written, as `success` is.
        names = "certified", *(f"certificate_{name}" for name in ("states", "gap", "seconds"))
        result.update(dict.fromkeys(names, nan))
        success = result.get("env_runners", {}).get("success", nan)
        trained = result.get("time_total_s", nan)  # without the time of checks
        # NaN where episodes do not say whether they were a success: then each is checked.
        if success < self._SUCCESS or self._seconds > self._SHARE * trained:
            return
        if self._env is None:
            config = algorithm.config
            options = evaluation_options(config.env_config, config.evaluation_config)
            self._env = env_maker(config.env)(options)
            self._finite = finite_task_of(self._env, self.task)
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
            network = require_rounded(module)
            with one_thread():
                found = check_all_episodes(network, self._finite, self._MAX_STATES)
            self._seconds += found.seconds
            before, weights = weights, algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
            if all(np.array_equal(weights[name], value) for name, value in before.items()):
                return found


def report_certified(config: AlgorithmConfig, task: Describe | None = None) -> None:
    """Adds `CertifyMemory` to the config of a training that ends when its policy is certified.

    Args:
        config: The config.
        task: What describes the environment, in place of its own method `finite_task`.

    Raises:
        UserError: If the policy could not be certified.
    """
    present = config.callbacks_class
    present = list(present) if isinstance(present, (list, tuple)) else [present]
    own = [each for each in present if issubclass(each, CertifyMemory)]
    if task is None and own:
        task = own[0].task
    check_config(config, task)
    if own and task == own[0].task:
        return
    reports = CertifyMemory
    if task is not None:
        reports = type("CertifyMemory", (CertifyMemory,), {"task": staticmethod(task)})
    replaced = (SuccessMetric, *own)
    config.callbacks([*(each for each in present if each not in replaced), reports])
