"""Checks a whole config on this machine alone: its environments, its module, RLlib's own checks."""

from collections.abc import Callable, Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_elmur.errors import UserError
from rllib_elmur.files.validator import Validator, failures
from rllib_elmur.plugin.environments import env_maker
from rllib_elmur.plugin.module import is_elmur
from rllib_elmur.plugin.review import require_whole_rows
from rllib_elmur.plugin.rllib_internals import connector_builders

_NEW_STACK = ("enable_rl_module_and_learner", "enable_env_runner_and_connector_v2")


def require_new_stack(config: AlgorithmConfig) -> None:
    """Raises a ValueError if a config asks for RLlib's former API stack."""
    if not all(getattr(config, key) for key in _NEW_STACK):
        raise ValueError(
            f"{' and '.join(_NEW_STACK)} must be true: only RLlib's new API stack runs."
        )


class ConfigCheck:
    """Notes what keeps a config from being trained.

    Args:
        here: Where the settings of the config stand.
        env_place: Where the name of its environment stands.
        settings: The settings; empty if the config was made in Python.
        assemble: Makes a config of settings.
    """

    def __init__(
        self,
        here: Validator,
        env_place: Validator,
        settings: Mapping[str, Any],
        assemble: Callable[[Mapping[str, Any]], AlgorithmConfig],
    ):
        self._here, self._env_place = here, env_place
        self._settings, self._assemble = settings, assemble

    def run(self, config: AlgorithmConfig) -> None:
        """Checks the config that was made of the settings."""
        error = _failure(lambda: require_new_stack(config))
        if error is not None:
            self._here.refused(error)
            return
        env = None if config.env is None else self._environment(config)
        # What is missing because of a problem might make the rest look wrong.
        if env is not None and not self._here.failed:
            self._validate()
            if not self._here.failed:
                self._require_whole_rows(config)
                self._build_module(config, env)
        if env is not None:
            env.close()

    def _place(self, key: Any) -> Validator:
        """Where a setting stands."""
        if key == "env":
            return self._env_place
        return self._here.at(key) if key in self._settings else self._here

    def _environment(self, config: AlgorithmConfig) -> Any:
        """The training's environment; None if it or the evaluation's cannot be made."""
        try:
            make = env_maker(config.env)
        except UserError as error:
            self._env_place.refused(error)
            return None
        options = dict(config.env_config)
        overlay = (config.evaluation_config or {}).get("env_config") or {}
        self._check_options(make, "env_config", options, config.env)
        if overlay:
            self._check_options(make, "evaluation_config", {**options, **overlay}, config.env)
        return None if self._here.failed or self._env_place.failed else make(options)

    def _check_options(
        self, make: Callable[[dict[str, Any]], Any], name: str, options: dict[str, Any], env: Any
    ) -> None:
        """Notes with which options of the file an environment cannot be made."""
        place, given = self._place(name), self._settings.get(name) or {}
        if name == "evaluation_config" and given:
            place, given = place.at("env_config"), given["env_config"]
        fixed = {key: value for key, value in options.items() if key not in given}

        def attempt(part: Mapping[str, Any]) -> Exception | None:
            return _failure(lambda: make({**fixed, **part}).close())

        for number, (key, error) in enumerate(failures(given, attempt)):
            # Without an option that is wrong, others may seem to be, unless they fail alone.
            if number and (key is None or attempt({key: given[key]}) is None):
                break
            if not isinstance(error, UserError):
                of = getattr(env, "__name__", env)
                error = UserError(f"{error} ({name}={options} of {of})")
            found = place if key is None else place.at(key)
            (found if given else self._env_place).refused(error)

    def _validate(self) -> None:
        """Notes what RLlib finds wrong, which says no more than the first problem."""

        def attempt(part: Mapping[str, Any]) -> Exception | None:
            return _failure(lambda: self._assemble(part).copy(copy_frozen=False).validate())

        for key, error in failures(self._settings, attempt):
            self._place(key).refused(error)
            return

    def _require_whole_rows(self, config: AlgorithmConfig) -> None:
        """Notes minibatches that are too small for a training sequence."""
        error = _failure(lambda: require_whole_rows(config))
        if error is not None:
            given = "minibatch_size" in self._settings
            keys = ("minibatch_size",) if given else ("rl_module_spec", "model_config")
            self._here.at(*keys, "max_seq_len").refused(error)

    def _build_module(self, config: AlgorithmConfig, env: Any) -> None:
        """Builds ELMUR's module for the environment's spaces, which it may not support."""
        # Connectors of the user's may change the observation space, which a worker alone knows.
        module_class = getattr(config.rl_module_spec, "module_class", None)
        if not is_elmur(module_class) or connector_builders(config)[0] is not None:
            return
        spec = self._settings.get("rl_module_spec") or {}

        def build(options: Mapping[str, Any]) -> None:
            settings = {**self._settings, "rl_module_spec": {**spec, "model_config": options}}
            changed = self._assemble(settings).copy(copy_frozen=False)
            changed.get_rl_module_spec(env=env, inference_only=True).build()

        options = spec.get("model_config") or {}
        for key, error in failures(options, lambda part: _failure(lambda: build(part))):
            place = self._here.at("rl_module_spec", "model_config", key)
            (self._env_place if key is None else place).refused(error)
            return


def _failure(action: Callable[[], Any]) -> Exception | None:
    try:
        action()
    except Exception as error:
        return error
    return None
