"""Which keys a `config` mapping may have, and values of which type."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from rllib_elmur.errors import nearest
from rllib_elmur.files.former_keys import CONFIG_KEYS, MEMORY_KEYS
from rllib_elmur.files.validator import Validator

# Keys that RLlib keeps under a private name, so that only these methods set them. Which method
# takes which key differs between versions; the first that does is the one that is not deprecated.
_METHODS = ("learners", "training", "env_runners", "rl_module", "experimental")
BY_METHOD = (
    "learner_class",
    "learner_connector",
    "train_batch_size_per_learner",
    "torch_lr_scheduler_classes",
    "env_to_module_connector",
    "module_to_env_connector",
    "model_config",
)
# Former spellings that RLlib's `update_from_dict` still takes, and that are not in `CONFIG_KEYS`.
_ALSO = ("lambda", "callbacks", "input", "rl_module_spec", *BY_METHOD)
_MAPPINGS = (
    "env_config",
    "evaluation_config",
    "model_config",
    "rl_module_spec",
    "learner_config_dict",
)


def method_of(config: AlgorithmConfig, key: str) -> Callable[..., AlgorithmConfig]:
    """The method of a config that sets a key of `BY_METHOD`."""
    # An algorithm's own `training` hands most keys on to the one that all algorithms share.
    shared = ((name, inspect.signature(getattr(AlgorithmConfig, name))) for name in _METHODS)
    return getattr(config, next(name for name, method in shared if key in method.parameters))


def valid_part(
    here: Validator, content: dict[str, Any], default: AlgorithmConfig
) -> dict[str, Any]:
    """Notes what is wrong with the keys of a `config`, and returns the others.

    Args:
        here: Where the mapping stands.
        content: The mapping.
        default: The algorithm's default config.
    """
    names = {key for key in vars(default) if not key.startswith("_")} - set(CONFIG_KEYS)
    names |= set(_ALSO)
    if default.train_batch_size_per_learner is None:  # of an off-policy algorithm
        names.add("train_batch_size")
    content = refuse_former(here, content, names)
    valid = {}
    for key, value in content.items():
        at = here.at(key)
        if key not in names:
            if key not in CONFIG_KEYS:
                at.problem(
                    f"unknown key {key!r} for {type(default).__name__}."
                    f"{nearest(key, names) or ' No key has a name close to it.'}"
                )
            continue
        if key in _MAPPINGS and value is not None and not at.is_mapping(value):
            continue
        elif key == "evaluation_config" and value:
            value = valid_part(at, value, default)
        elif key == "model_config" and value:
            value = at.known(value, [f.name for f in dataclasses.fields(DefaultModelConfig)])
        elif not at.fits(value, getattr(default, key, None)):
            continue
        valid[key] = value
    return valid


def refuse_former(
    here: Validator, content: dict[str, Any], names: set[str] | None = None
) -> dict[str, Any]:
    """Notes keys of RLlib's former files, but for those that the algorithm still has.

    Returns:
        The content without keys of memory, at any depth.
    """
    for key in content:
        if key in CONFIG_KEYS and key not in (names or ()):
            _refuse(here.at(key), key, CONFIG_KEYS[key])
    return _without_memory_keys(here, content)


def _without_memory_keys(here: Validator, content: dict[str, Any]) -> dict[str, Any]:
    rest = {}
    for key, value in content.items():
        if key in MEMORY_KEYS:
            _refuse(here.at(key), key, MEMORY_KEYS[key])
        elif isinstance(value, dict) and key not in ("env_config", "learner_config_dict"):
            rest[key] = _without_memory_keys(here.at(key), value)
        else:
            rest[key] = value
    return rest


def _refuse(here: Validator, key: str, use: str) -> None:
    here.problem(f"{key!r} is a key of RLlib's former files: use {use}.")
