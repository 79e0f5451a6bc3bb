"""Every private name of Ray, RLlib and Tune that this package uses, behind functions of its own.

A new release of Ray is read against this file: `PRIVATE_NAMES` says which module defines each name,
and in which versions it was read. Methods that RLlib documents for overriding are not private.
Modules of Ray are imported where they are used: `import rllib_elmur` alone needs no Ray.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

# Private names by the module of Ray that defines them, and the versions in which they were read.
_OF_SAMPLING = {
    ("rllib.env.single_agent_env_runner", "2.50", "2.60"): (
        "_sample _env_to_module _module_to_env _cached_to_module _weights_seq_no _new_episode"
        " _make_on_episode_callback _increase_sampled_metrics _done_episodes_for_metrics"
        " _ongoing_episodes_for_metrics"
    ),
    ("rllib.env.env_runner", "2.53", "2.60"): (
        "num_env_steps_sampled_lifetime _metrics_num_env_steps_sampled _log_env_steps"
    ),
    ("rllib.env.env_runner", "2.54", "2.60"): (
        "_try_env_step _ongoing_episodes _shared_data _needs_initial_reset _reset_envs_and_episodes"
    ),
}
_KL = "_update_module_kl_coeff curr_kl_coeffs_per_module"
PRIVATE_NAMES = {
    **_OF_SAMPLING,
    ("rllib.algorithms.algorithm_config", "2.50", "2.60"): (
        "_env_to_module_connector _learner_connector"
    ),
    ("rllib.connectors.common.batch_individual_items", "2.50", "2.60"): "memorized_map_structure",
    ("rllib.connectors.common.add_time_dim_to_batch_and_zero_pad", "2.50", "2.60"): (
        "_added_single_ts_time_rank _zero_padded_for_mid="
    ),
    ("rllib.connectors.env_to_module.mean_std_filter", "2.50", "2.60"): "_update_stats",
    ("rllib.env.single_agent_episode", "2.50", "2.60"): "_start_time _last_step_time",
    ("rllib.env.multi_agent_episode", "2.50", "2.60"): "_hanging_extra_model_outputs_end",
    ("rllib.env.utils.infinite_lookback_buffer", "2.50", "2.60"): "data finalized",
    ("rllib.core.learner.torch.torch_learner", "2.50", "2.60"): "_set_optimizer_lr",
    ("rllib.core.learner.learner", "2.56", "2.60"): (
        "_create_iterator_if_necessary _make_batch_if_necessary"
    ),
    ("rllib.algorithms.ppo.ppo_learner", "2.50", "2.60"): _KL,
    ("rllib.algorithms.appo.appo_learner", "2.50", "2.60"): _KL,
    ("_private.worker", "2.50", "2.60"): "_post_init_hooks _global_node",
    ("tune.registry", "2.50", "2.60"): "_global_registry",
    ("tune.tuner", "2.50", "2.60"): "_local_tuner",
}


class OwnSampling:
    """Mixin before an env runner of RLlib whose `sample` calls the method `sample_episodes`."""

    def _sample(self, **request: Any) -> list[Any]:
        return self.sample_episodes(**request)

    def sample_episodes(self, **request: Any) -> list[Any]:
        """Samples by RLlib's own loop."""
        return super()._sample(**request)  # ty: ignore[missing-attribute]


class RunnerInternals:
    """What a `SingleAgentEnvRunner` keeps for its own loop."""

    def __init__(self, runner: Any):
        self._runner = runner

    @property
    def missing(self) -> list[str]:
        """The names that a loop of this package needs and that the env runner does not have."""
        return [n for n in " ".join(_OF_SAMPLING.values()).split() if not hasattr(self._runner, n)]

    @property
    def episodes(self) -> list[Any]:
        """The running episode of each sub-environment."""
        return self._runner._ongoing_episodes

    @property
    def shared_data(self) -> dict[str, Any]:
        """The data that both pipelines share; a reset of all environments begins with new ones."""
        return self._runner._shared_data

    @property
    def weights_seq_no(self) -> int:
        """The number of the module's weights."""
        return self._runner._weights_seq_no

    def steps_of_all_runners(self, n_steps: int) -> int:
        """RLlib's estimate of the env steps of all runners, `n_steps` after `sample` began."""
        n_runners = self._runner.config.num_env_runners or 1
        return (self._runner.num_env_steps_sampled_lifetime // n_runners + n_steps) * n_runners

    def reset_if_due(self, explore: bool, force_reset: bool, num_episodes: int | None) -> None:
        """Resets all environments where RLlib does so at the beginning of `sample`."""
        if force_reset or num_episodes is not None or self._runner._needs_initial_reset:
            self.reset(explore)
        if num_episodes is not None:
            self._runner._needs_initial_reset = True

    def reset(self, explore: bool) -> None:
        """Resets all environments, and makes the module's input of their first observations."""
        self._runner._reset_envs_and_episodes(explore)

    def take_module_input(self) -> Any:
        """The module's next input, which is made at the end of a step or by a reset."""
        made, self._runner._cached_to_module = self._runner._cached_to_module, None
        return made

    def keep_module_input(self, batch: Any) -> None:
        """Keeps the module's next input, for the next step or the next `sample`."""
        self._runner._cached_to_module = batch

    def step(self, actions: Any) -> Any:
        """Steps the environments; returns RLlib's `ENV_STEP_FAILURE` where one failed."""
        return self._runner._try_env_step(actions)

    def call_back(self, event: str, env_index: int) -> None:
        """Calls the config's callbacks of an event, such as ``on_episode_start``."""
        self._runner._make_on_episode_callback(event, env_index, self.episodes)

    def begin_episode(self, env_index: int) -> None:
        """Puts a new episode in the place of a sub-environment's last one."""
        self._runner._new_episode(env_index, self.episodes)

    def count(self, n_steps: int, ended: list[Any], going_on: list[Any]) -> None:
        """Counts steps and episodes for RLlib's metrics and for Prometheus."""
        runner = self._runner
        runner._done_episodes_for_metrics.extend(ended)
        for episode in going_on:
            runner._ongoing_episodes_for_metrics[episode.id_].append(episode)
        runner._log_env_steps(metric=runner._metrics_num_env_steps_sampled, num_steps=n_steps)
        runner._increase_sampled_metrics(n_steps, len(ended))


def pipelines(runner: Any) -> tuple[Any, Any]:
    """The env-to-module and the module-to-env pipeline of an env runner."""
    return runner._env_to_module, runner._module_to_env


def connector_builders(config: Any) -> tuple[Any, Any]:
    """The config's `env_to_module_connector` and `learner_connector`, functions or None."""
    return config._env_to_module_connector, config._learner_connector


def freeze_filters(pipeline: Any) -> None:
    """Lets RLlib's filters of a pipeline apply what they have learned, and learn no more."""
    for piece in pipeline.connectors:
        if hasattr(piece, "_update_stats"):
            piece._update_stats = False


def note_time_axis(shared_data: dict[str, Any], rows: Any) -> None:
    """Tells RLlib's module-to-env pieces whose each row is (`owners`), and of its time axis."""
    shared_data |= {"memorized_map_structure": rows, "_added_single_ts_time_rank": True}


def owners(shared_data: dict[str, Any]) -> Any:
    """Each row's episode, by id; of several agents, by module, each row's episode and agent."""
    return shared_data["memorized_map_structure"]


def note_padding(shared_data: dict[str, Any], module_id: str) -> None:
    """Tells the learner that a module's rows are padded with zeros."""
    shared_data[f"_zero_padded_for_mid={module_id}"] = True


def waiting_outputs(episode: Any) -> dict[Any, dict[str, Any]]:
    """The module's outputs for agents that have acted and whose step is not over, by agent."""
    return episode._hanging_extra_model_outputs_end


def note_times(episode: Any, began: float, now: float) -> None:
    """Sets the time of an episode's last step, and of its begin unless that is known."""
    episode._start_time, episode._last_step_time = episode._start_time or began, now


def buffer_items(buffer: Any) -> tuple[Any, bool]:
    """The items of an episode's buffer, and whether they are an array (else a list)."""
    return buffer.data, buffer.finalized


def set_buffer_items(buffer: Any, items: Any, is_array: bool) -> None:
    """Sets the items of an episode's buffer."""
    buffer.data, buffer.finalized = items, is_array


LR_SCALE = "lr_scale"


class ScaledRates:
    """Mixin before a torch learner whose parameter groups have shares `LR_SCALE` of the rate."""

    @staticmethod
    def _set_optimizer_lr(optimizer: Any, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get(LR_SCALE, 1.0)

    def set_rate(self, optimizer: Any, rate: float) -> None:
        """Gives each parameter group its share of a rate."""
        self._set_optimizer_lr(optimizer, rate)


class OwnKLUpdate:
    """Mixin before PPO's or APPO's learner that has a say in the new KL coefficient."""

    curr_kl_coeffs_per_module: Any

    def _update_module_kl_coeff(self, *, module_id: str, config: Any, **kwargs: Any) -> None:
        rllibs: Any = super()
        rllibs._update_module_kl_coeff(module_id=module_id, config=config, **kwargs)
        self.kl_coeff_updated(module_id, config, self.curr_kl_coeffs_per_module[module_id])

    def kl_coeff_updated(self, module_id: str, config: Any, coefficient: Any) -> None:
        """Called with the coefficient, a tensor that may be changed in place."""


class OwnBatches:
    """Mixin before a torch learner whose `update` takes the train batches of its `batches`."""

    def _create_iterator_if_necessary(self: Any, **request: Any) -> Any:
        return self.batches(batch_of=self._make_batch_if_necessary, **request)


def call_after_init(function: Callable[[], None]) -> None:
    """Calls a function after each `ray.init` of this process."""
    from ray._private.worker import _post_init_hooks

    if function not in _post_init_hooks:
        _post_init_hooks.append(function)


def logs_of_worker(pid: str) -> list[Path]:
    """The files of what a worker process of this machine wrote to its standard error."""
    from ray._private.worker import _global_node as node

    return [] if node is None else list(Path(node.get_logs_dir_path()).glob(f"worker-*-{pid}.err"))


def env_creator(name: str) -> Callable[[Any], Any] | None:
    """The function behind an environment's name in RLlib's registry; None if it has no such."""
    from ray.tune.registry import ENV_CREATOR, _global_registry

    known = _global_registry.contains(ENV_CREATOR, name)
    return _global_registry.get(ENV_CREATOR, name) if known else None


def stored_run_config(tuner: Any) -> Any:
    """The `RunConfig` of a restored `Tuner`, which may be changed in place."""
    return tuner._local_tuner.get_run_config()
