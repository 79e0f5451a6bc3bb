"""Environments by class or id, and the spaces that a policy was trained for."""

import importlib
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from ray.rllib.env.env_context import EnvContext

from rllib_elmur.errors import UserError, nearest
from rllib_elmur.plugin.rllib_internals import env_creator


def env_maker(env: Any) -> Callable[[dict[str, Any]], Any]:
    """A function from an `env_config` to an environment, as RLlib would make it.

    Args:
        env: A class, the import path of one, an id of RLlib's registry or an id of Gymnasium's,
            which may begin with the module that registers it
            (``popgym:popgym-RepeatFirstEasy-v0``).

    Raises:
        UserError: If there is no such class, or if the id is known to neither.
    """
    if is_class_path(env) and env_creator(env) is None and env not in gym.registry:
        env = _class_at(env)
    if inspect.isclass(env):
        return lambda options: env(EnvContext(options, worker_index=0))
    creator = env_creator(env)
    if creator is not None:
        return lambda options: creator(EnvContext(options, worker_index=0))
    gymnasium_spec(env)
    return lambda options: gym.make(env, **options)


def evaluation_options(
    training: Mapping[str, Any], evaluation_config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The options of the environment in evaluation: the training's, then evaluation's."""
    return {**training, **((evaluation_config or {}).get("env_config") or {})}


def is_class_path(env: Any) -> bool:
    """Whether an `env` is a class path rather than a registered id such as ``pkg/Maze-v0``."""
    return isinstance(env, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", env) is not None


def _class_at(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"env={path!r}: {error}. An import path such as package.module.Name is needed."
        ) from error


def gymnasium_spec(env: str) -> gym.envs.registration.EnvSpec:
    """What Gymnasium knows of an id, after the import of the module that the id begins with.

    Raises:
        UserError: If the module cannot be imported or Gymnasium does not know the id.
    """
    module, _, name = env.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gym.spec(name)
    except (gym.error.Error, ImportError) as error:
        if module:
            raise UserError(f"env={env!r}: {str(error).rstrip('.')}.") from error
        near = nearest(env, [*gym.registry, "rllib_elmur/TMazePassive-v0"])
        raise UserError(
            f"env={env!r} is neither an environment id of Gymnasium or RLlib nor a class path; "
            f"{_form_with_module(env)}{near}"
        ) from error


def importable_id(env: Any) -> Any:
    """An environment's id behind the module that registers it, so that every process finds it.

    Gymnasium knows an id where its package was imported; RLlib's workers and an evaluation are
    other processes. Classes, ids of Gymnasium and of RLlib's registry stay as they are.
    """
    if not isinstance(env, str) or ":" in env or env_creator(env) is not None:
        return env
    spec = gym.registry.get(env)
    if spec is None:
        if _package_of(env):
            warnings.warn(f"env={env!r} is not registered; {_form_with_module(env)}", stacklevel=4)
        return env
    entry = spec.entry_point or spec.vector_entry_point
    module = entry if isinstance(entry, str) else getattr(entry, "__module__", "")
    package = re.split("[.:]", module)[0]
    # Workers import this package anyway, and nobody can import an experiment's own file.
    known = "gymnasium", "rllib_elmur", "__main__"
    is_elsewhere = package.isidentifier() and package not in known
    return f"{package}:{env}" if is_elsewhere and package in sys.modules else env


def _form_with_module(env: str) -> str:
    """How the id of another package is written."""
    module = _package_of(env) or "module"
    return (
        "the id of another package is written behind the module that registers it, as in "
        f"'{module}:{env}'."
    )


def _package_of(env: str) -> str | None:
    """The installed package that an id seems to be of, by the first word of the id."""
    word = re.split(r"\W", env)[0]
    found = (name for name in (word, word.lower()) if name and importlib.util.find_spec(name))
    return next(found, None)


def require_spaces(
    module: Any, observation_space: gym.Space, action_space: gym.Space, where: str = ""
) -> None:
    """Raises a UserError if a policy was trained for other spaces than an environment has."""
    for kind, found in (("observation", observation_space), ("action", action_space)):
        wanted = getattr(module, f"{kind}_space")
        if wanted != found:
            raise UserError(
                f"{where}the policy was trained for the {kind} space {wanted}, but the environment "
                f"has {found}."
            )
