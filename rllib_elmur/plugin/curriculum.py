"""Changes the options of the environments as a training gets better at them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from ray.tune.utils.util import flatten_dict

from rllib_elmur.errors import UserError, nearest
from rllib_elmur.plugin.environments import env_maker
from rllib_elmur.plugin.say_once import say_once
from rllib_elmur.plugin.success import SuccessMetric

STAGE = "curriculum_stage"
_MISSING_AFTER = 5  # iterations without the result


class Curriculum(SuccessMetric):
    """Makes the environments anew with the options of the next stage when one is mastered.

    A training begins with the config's `env_config`, which is stage 0. A class derived from this
    one says what follows. All env runners of the training change together, at the end of an
    iteration; their running episodes are dropped. Evaluation stays with its own `env_config`. The
    result `curriculum_stage` is the number of the stage, and a resumed training goes on with it.

    Attributes:
        stages: Environment options of each stage from 1 on, which are laid over `env_config`.
        result: Name of the result that decides, such as ``env_runners/episode_return_mean``.
        at_least: A stage is mastered in an iteration whose result is as large as this.
    """

    stages: ClassVar[Sequence[Mapping[str, Any]]] = ()
    result: ClassVar[str] = "env_runners/success"
    at_least: ClassVar[float] = 0.9

    def __init__(self) -> None:
        super().__init__()
        self._stage = 0  # that of the env runners
        self._env_config: dict[str, Any] = {}  # of stage 0

    def is_mastered(self, results: Mapping[str, Any]) -> bool:
        """Whether the results of an iteration, by names such as ``a/b``, lead to the next stage."""
        return results.get(self.result, 0.0) >= self.at_least

    def on_algorithm_init(self, *, algorithm, **kwargs) -> None:
        """Makes sure that there is an environment for each stage.

        Raises:
            UserError: If there is no stage, or if the options of one are refused or change a space.
        """
        if not self.stages:
            raise UserError(f"{type(self).__name__}: `stages` must hold the options of a stage.")
        config = algorithm.config
        make = env_maker(config.env)
        first = make(dict(config.env_config))
        for number, options in enumerate(self.stages, 1):
            where = f"{type(self).__name__}: stage {number}, {dict(options)}"
            try:
                env = make({**config.env_config, **options})
            except Exception as error:
                raise UserError(f"{where}: {error}") from error
            for space in ("observation_space", "action_space"):
                found, wanted = getattr(env, space), getattr(first, space)
                if found != wanted:
                    raise UserError(
                        f"{where}: the {space} would be {found}; it must stay {wanted}, for which "
                        "the policy is made."
                    )
            env.close()
        first.close()
        algorithm.metrics.log_value(STAGE, 0, reduce="lifetime_sum")
        self._env_config = dict(config.env_config)
        self._follow_restores(algorithm)

    def _follow_restores(self, algorithm: Any) -> None:
        """Goes on with the stage of each state that is loaded, before anything is sampled.

        RLlib has a callback for one of its three ways to load a state; all of them end here.
        """
        load = algorithm.set_state

        def set_state(state: Any) -> None:
            load(state)
            stage = int(algorithm.metrics.peek(STAGE, default=0))
            if stage != self._stage:
                self._change(algorithm.env_runner_group, stage)

        algorithm.set_state = set_state

    def on_train_result(self, *, algorithm, metrics_logger=None, result, **kwargs) -> None:
        """Goes on to the next stage if this one is mastered."""
        super().on_train_result(
            algorithm=algorithm, metrics_logger=metrics_logger, result=result, **kwargs
        )
        results = flatten_dict(result)
        if self.result not in results and algorithm.training_iteration >= _MISSING_AFTER:
            say_once(
                f"{type(self).__name__}: result={self.result!r} is not among the results, so "
                f"that no stage is mastered.{nearest(self.result, results)}"
            )
        if self._stage < len(self.stages) and self.is_mastered(results):
            algorithm.metrics.log_value(STAGE, 1, reduce="lifetime_sum")
            self._change(algorithm.env_runner_group, self._stage + 1)

    def on_env_runners_recreated(
        self, *, env_runner_group, env_runner_indices, is_evaluation, **kwargs
    ) -> None:
        """Gives env runners that were lost and made anew the options of the present stage."""
        if self._stage and not is_evaluation:
            self._change(env_runner_group, self._stage, env_runner_indices)

    def _change(self, env_runner_group: Any, stage: int, indices: list[int] | None = None) -> None:
        self._stage = stage
        if env_runner_group is None:
            return
        options = self.stages[stage - 1] if stage else {}
        env_runner_group.foreach_env_runner(
            partial(_make_env, env_config={**self._env_config, **options}),
            remote_worker_ids=indices,
            local_env_runner=indices is None,
        )


def _make_env(env_runner: Any, env_config: dict[str, Any]) -> None:
    """Makes an env runner's environments anew, in RLlib's way, if it has any."""
    env_runner.config.env_config = env_config
    if env_runner.env is not None:
        env_runner.make_env()
