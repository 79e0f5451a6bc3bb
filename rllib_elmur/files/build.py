"""From the mappings of an experiment to an AlgorithmConfig that RLlib can run."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import get_trainable_cls

from rllib_elmur.errors import OptionError, nearest
from rllib_elmur.files import keys
from rllib_elmur.files.checks import ConfigCheck, require_new_stack
from rllib_elmur.files.class_paths import imported, with_objects
from rllib_elmur.files.validator import Validator
from rllib_elmur.plugin.module import is_elmur
from rllib_elmur.plugin.policy_options import check_model_config
from rllib_elmur.plugin.success import SuccessMetric
from rllib_elmur.plugin.use import use_elmur, use_vector_form

_SPEC, _LEARNER = "rl_module_spec", "learner_config_dict"
_SPEC_KEYS = ["module_class", "model_config", "catalog_class"]


def default_config(here: Validator, run: str) -> AlgorithmConfig | None:
    """The default config of the algorithm that an experiment names; None if there is none."""
    if run not in ALGORITHMS:
        here.problem(
            f"run={run!r} is not an algorithm of RLlib.{nearest(run, ALGORITHMS)} "
            f"Algorithms: {', '.join(ALGORITHMS)}."
        )
        return None
    return get_trainable_cls(run).get_default_config()


def config_of(
    here: Validator, default: AlgorithmConfig, env: Any, content: dict[str, Any]
) -> AlgorithmConfig | None:
    """Makes the config of one trial, and notes what is wrong with it.

    Args:
        here: Where the experiment stands.
        default: The algorithm's default config.
        env: The experiment's environment, if it names one itself.
        content: The experiment's `config`, without search values left in it.

    Returns:
        The config; None if a problem was found.
    """
    inside = here.at("config")
    settings = keys.valid_part(inside, copy.deepcopy(content), default)
    settings = with_objects(inside, settings)
    if settings.get(_SPEC) is not None:
        settings[_SPEC] = _module_of(inside.at(_SPEC), settings[_SPEC])
    env_place = inside.at("env")
    if isinstance(env, str):
        env_place = here.at("env")
        settings |= with_objects(here, {"env": env})
    elif content.get("env") is None:
        here.problem("no environment: the key 'env' is missing.")
    config = _assembled(inside, default, settings)
    if config is not None:
        ConfigCheck(inside, env_place, settings, partial(_assemble, default)).run(config)
    return None if here.failed or config is None else with_success(config)


def checked(here: Validator, config: AlgorithmConfig) -> AlgorithmConfig:
    """Checks a config that was made in Python, and adds the `success` metric to it."""
    ConfigCheck(here, here, {}, lambda settings: config).run(config)
    return with_success(config)


def with_success(config: AlgorithmConfig) -> AlgorithmConfig:
    """Adds the `success` metric to a config, unless it has one."""
    present = config.callbacks_class
    present = list(present) if isinstance(present, (list, tuple)) else [present]
    if not any(issubclass(callback, SuccessMetric) for callback in present):
        config.callbacks([*present, SuccessMetric])
    return config


def _module_of(here: Validator, spec: dict[str, Any]) -> dict[str, Any] | None:
    """An `rl_module_spec` with classes in place of their import paths; None if it has none."""
    spec = here.known(spec, _SPEC_KEYS)
    if "module_class" not in spec:
        here.problem("rl_module_spec lacks the key 'module_class', a class path.")
    if spec.get("model_config") is not None and not here.at("model_config").is_mapping(
        spec["model_config"]
    ):
        del spec["model_config"]
    for key in ("module_class", "catalog_class"):
        if spec.get(key):
            spec[key] = imported(here.at(key), spec[key])
    return spec if spec.get("module_class") else None


def _assembled(
    here: Validator, default: AlgorithmConfig, settings: dict[str, Any]
) -> AlgorithmConfig | None:
    """The config with all settings that can be made; notes the others. None if all is in vain."""
    wrong: set[str] = set()
    while True:
        try:
            return _assemble(default, settings)
        except OptionError as error:
            place = _place_of(error.options, settings)
            # Without an option that is wrong, others may seem to be.
            if not wrong & set(error.options):
                here.at(*(place or (_SPEC, "model_config", 0))).refused(error)
            if place is None:
                return None
            wrong.add(place[-1])
            _remove(settings, place)
        except (ValueError, TypeError) as error:
            key = _refused_alone(here, default, settings)
            if key is None:
                here.refused(error)
                return None
            del settings[key]


def _place_of(options: Sequence[str], settings: dict[str, Any]) -> tuple[str, ...] | None:
    """Where the first of some options stands that the settings have; None if they have none."""
    model_config = (settings.get(_SPEC) or {}).get("model_config") or {}
    for option in options:
        if option in model_config:
            return (_SPEC, "model_config", option)
        if option in (settings.get(_LEARNER) or {}):
            return (_LEARNER, option)
    return None


def _remove(settings: dict[str, Any], place: tuple[str, ...]) -> None:
    """Removes an option from settings, and leaves mappings in them that others may have."""
    key, *rest = place
    if rest:
        settings[key] = dict(settings[key])
        _remove(settings[key], tuple(rest))
    else:
        del settings[key]


def _refused_alone(
    here: Validator, default: AlgorithmConfig, settings: dict[str, Any]
) -> str | None:
    """Notes a setting that RLlib refuses whatever the others are, and returns its key."""
    for key, value in settings.items():
        try:
            _assemble(default, {key: value})
        except (ValueError, TypeError) as error:
            here.at(key).refused(error)
            return key
    return None


def _assemble(default: AlgorithmConfig, settings: Mapping[str, Any]) -> AlgorithmConfig:
    """A config with these settings; raises what RLlib, or ELMUR's options, raise."""
    config = default.copy(copy_frozen=False)
    config.restart_failed_env_runners = None  # left to where it will train, unless the file says
    # Not an attribute's own name, and `update_from_dict` would set it as a new one.
    apart = {_SPEC, *keys.BY_METHOD}
    config.update_from_dict({key: v for key, v in settings.items() if key not in apart})
    for key in keys.BY_METHOD:
        if key in settings:
            keys.method_of(config, key)(**{key: settings[key]})
    require_new_stack(config)
    spec = settings.get(_SPEC)
    if spec is not None and is_elmur(spec["module_class"]):
        options = spec.get("model_config") or {}
        check_model_config(options)
        use_elmur(config, module_class=spec["module_class"], **options)
    elif spec is not None:
        config.rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=spec["module_class"],
                model_config=spec.get("model_config") or {},
                catalog_class=spec.get("catalog_class"),
            )
        )
    # `use_elmur` cannot tell a choice of RLlib's default from none.
    if "gym_env_vectorize_mode" in settings:
        config.gym_env_vectorize_mode = settings["gym_env_vectorize_mode"]
    else:
        use_vector_form(config)
    return config
