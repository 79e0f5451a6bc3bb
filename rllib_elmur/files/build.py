"""From an experiment's mapping to an AlgorithmConfig that RLlib can run."""

import copy
import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import get_trainable_cls

from rllib_elmur.errors import UserError, nearest
from rllib_elmur.files import former_keys as former
from rllib_elmur.files.class_paths import imported, with_objects
from rllib_elmur.files.search import is_search
from rllib_elmur.files.source import KeyPath, Source
from rllib_elmur.plugin.environments import check_environment
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.use import use_elmur, use_vector_form

# Keys that RLlib keeps under a private name, so that only these methods set them. Which method
# takes which key differs between versions; the first that does is the one that is not deprecated.
_METHODS = ("learners", "training", "env_runners", "rl_module", "experimental")
_BY_METHOD = (
    "learner_class",
    "learner_connector",
    "train_batch_size_per_learner",
    "torch_lr_scheduler_classes",
    "env_to_module_connector",
    "module_to_env_connector",
    "model_config",
)
# Former spellings that RLlib's `update_from_dict` still takes, and that are not in `FORMER`.
_ALSO = ("lambda", "callbacks", "input", "rl_module_spec", *_BY_METHOD)
_NEW_STACK = ("enable_rl_module_and_learner", "enable_env_runner_and_connector_v2")


def default_config(source: Source, name: str, run: str) -> AlgorithmConfig:
    """The default config of the algorithm that an experiment names."""
    if run not in ALGORITHMS:
        raise source.problem(
            (name, "run"),
            f"run={run!r} is not an algorithm of RLlib.{nearest(run, ALGORITHMS)} "
            f"Algorithms: {', '.join(ALGORITHMS)}.",
        )
    return get_trainable_cls(run).get_default_config()


def config_of(
    source: Source, name: str, default: AlgorithmConfig, env: str | None, content: dict[str, Any]
) -> AlgorithmConfig:
    """Makes the config of one trial from its mapping, without search values left in it.

    Raises:
        UserError: If a key is unknown or a value not allowed, with file and line where known.
    """
    path = (name, "config")
    _check_keys(source, path, content, default)
    settings = with_objects(source, path, copy.deepcopy(content))
    module = settings.pop("rl_module_spec", None)
    if env is not None:
        settings["env"] = with_objects(source, (name,), {"env": env})["env"]
    # Not an attribute's own name, and `update_from_dict` would set it as a new one.
    by_method = {key: settings.pop(key) for key in _BY_METHOD if key in settings}
    config = default.copy(copy_frozen=False)
    config.restart_failed_env_runners = None  # left to where it will train, unless the file says
    try:
        config.update_from_dict(settings)
        for key, value in by_method.items():
            _method_of(config, key)(**{key: value})
        if module is not None:
            _set_module(source, (*path, "rl_module_spec"), config, module)
        # `use_elmur` cannot tell a choice of RLlib's default from none.
        if "gym_env_vectorize_mode" in settings:
            config.gym_env_vectorize_mode = settings["gym_env_vectorize_mode"]
        else:
            use_vector_form(config)
    except (ValueError, TypeError) as error:
        raise _located(source, name, content, error) from error
    if config.env is None:
        raise source.problem((name,), "no environment: the key 'env' is missing.")
    return checked(config, lambda error: _located(source, name, content, error))


def checked(config: AlgorithmConfig, as_problem: Any) -> AlgorithmConfig:
    """Validates a config on this machine alone, and adds the `success` metric to it.

    Args:
        config: The config to train with.
        as_problem: The name of the file, or a function from an exception to a `UserError`.
    """
    from rllib_elmur.plugin.success import SuccessMetric

    if isinstance(as_problem, str):
        file = as_problem

        def as_problem(error: Exception) -> UserError:
            return UserError(f"{file}: {error}")

    if not all(getattr(config, key) for key in _NEW_STACK):
        raise as_problem(
            ValueError(f"{' and '.join(_NEW_STACK)} must be true: only RLlib's new API stack runs.")
        )
    try:
        config.copy(copy_frozen=False).validate()
        check_environment(config)
    except Exception as error:
        raise as_problem(error) from error
    present = config.callbacks_class
    present = list(present) if isinstance(present, (list, tuple)) else [present]
    if not any(issubclass(callback, SuccessMetric) for callback in present):
        config.callbacks([*present, SuccessMetric])
    return config


def _check_keys(
    source: Source, path: KeyPath, content: dict[str, Any], default: AlgorithmConfig
) -> None:
    valid = {key for key in vars(default) if not key.startswith("_")} - set(former.CONFIG_KEYS)
    valid |= set(_ALSO)
    for key, value in content.items():
        here = (*path, key)
        if key in former.CONFIG_KEYS and not (key == "train_batch_size" and _off_policy(default)):
            raise source.problem(
                here, f"{key!r} is a key of RLlib's former files: use {former.CONFIG_KEYS[key]}."
            )
        if key not in valid and key != "train_batch_size":
            raise source.problem(
                here,
                f"unknown key {key!r} for {type(default).__name__}."
                f"{nearest(key, valid) or ' No key has a name close to it.'}",
            )
        if key in ("env_config", "evaluation_config", "model_config") and value is not None:
            _require_mapping(source, here, value)
        if key == "evaluation_config" and value:
            _check_keys(source, here, value, default)
        elif key == "model_config" and value:
            _check_names(source, here, value, [f.name for f in _fields(DefaultModelConfig)])
        _check_type(source, here, getattr(default, key, None), value)


def _method_of(config: AlgorithmConfig, key: str) -> Callable[..., AlgorithmConfig]:
    # An algorithm's own `training` hands most keys on to the one that all algorithms share.
    shared = ((name, inspect.signature(getattr(AlgorithmConfig, name))) for name in _METHODS)
    return getattr(config, next(name for name, method in shared if key in method.parameters))


def _off_policy(default: AlgorithmConfig) -> bool:
    return default.train_batch_size_per_learner is None


def _fields(cls: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(cls)


def _check_type(source: Source, path: KeyPath, default: Any, value: Any) -> None:
    if value is None or value == "auto" or is_search(value):
        return
    if isinstance(default, bool) and not isinstance(value, bool):
        raise source.problem(path, f"{path[-1]}={value!r} must be true or false.")
    if isinstance(default, (int, float)) and isinstance(value, (str, dict)):
        raise source.problem(path, f"{path[-1]}={value!r} must be a number.")


def _require_mapping(source: Source, path: KeyPath, value: Any) -> None:
    if not isinstance(value, dict):
        raise source.problem(path, f"{path[-1]}={value!r} must be a mapping.")


def _check_names(source: Source, path: KeyPath, content: dict[str, Any], valid: list[str]) -> None:
    for key in content:
        if key not in valid:
            raise source.problem(
                (*path, key),
                f"unknown key {key!r} in {path[-1]}.{nearest(key, valid)} "
                f"Keys: {', '.join(valid)}.",
            )


def _set_module(source: Source, path: KeyPath, config: AlgorithmConfig, spec: Any) -> None:
    _require_mapping(source, path, spec)
    _check_names(source, path, spec, ["module_class", "model_config", "catalog_class"])
    if "module_class" not in spec:
        raise source.problem(path, "rl_module_spec lacks the key 'module_class', a class path.")
    options = spec.get("model_config") or {}
    _require_mapping(source, (*path, "model_config"), options)
    module_class = imported(source, (*path, "module_class"), spec["module_class"])
    if module_class is ELMURTorchRLModule:
        use_elmur(config, **options)
        return
    catalog = spec.get("catalog_class")
    config.rl_module(
        rl_module_spec=RLModuleSpec(
            module_class=module_class,
            model_config=options,
            catalog_class=imported(source, (*path, "catalog_class"), catalog) if catalog else None,
        )
    )


def _located(source: Source, name: str, content: dict[str, Any], error: Exception) -> UserError:
    """The problem, at the line of the key that its message names."""
    text = str(error)
    if not isinstance(error, (UserError, ValueError)):
        text = f"{type(error).__name__}: {text}"
    found: list[tuple[int, int, KeyPath]] = []

    def collect(value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                match = re.search(rf"(?<!\w){re.escape(str(key))}(?!\w)", text)
                if match:
                    found.append((match.start(), -len(path), (*path, key)))
                collect(inner, (*path, key))

    collect({"env": None, **content}, (name, "config"))
    # A message begins with what it is about; of equal names the innermost is the more exact.
    path = min(found, default=(0, 0, (name,)))[-1]
    if path == (name, "config", "env") and "env" not in content:
        path = (name, "env")
    return source.problem(path, " ".join(text.split()))
