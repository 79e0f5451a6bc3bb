"""Classes and functions that a file names by their import paths."""

import importlib
import re
from collections.abc import Callable
from typing import Any

from rllib_elmur.files.validator import Validator
from rllib_elmur.plugin.environments import is_class_path
from rllib_elmur.plugin.user_connectors import pieces_of

_TAKES_OBJECT = re.compile(r"^env$|^callbacks|_(class|cls|fn|function)$")


def with_objects(here: Validator, content: dict[str, Any]) -> dict[str, Any]:
    """Puts classes and functions in place of their import paths; leaves out what has none."""
    made = {}
    for key, value in content.items():
        if key == "evaluation_config" and value:
            made[key] = with_objects(here.at(key), value)
        elif key == "gym_env_vectorize_mode" and isinstance(value, str):
            made[key] = _vectorize_mode(here.at(key), value)
        elif key.endswith("_connector"):
            made[key] = _connector(_objects(here.at(key), value))
        elif _TAKES_OBJECT.search(key) and (key != "env" or is_class_path(value)):
            made[key] = _objects(here.at(key), value)
        else:
            made[key] = value
    return {key: value for key, value in made.items() if value is not None or content[key] is None}


def _objects(here: Validator, paths: Any) -> Any:
    """The object at an import path, or those at a list of them; None if one is missing."""
    if not isinstance(paths, list):
        return imported(here, paths)
    objects = [imported(here, path) for path in paths]
    return None if None in objects else objects


def _connector(pieces: Any) -> Callable[..., list[Any]] | None:
    """What RLlib calls for connector pieces: one of each class, what each function returns."""
    if pieces is None:
        return None
    pieces = pieces if isinstance(pieces, list) else [pieces]

    def build(*spaces: Any) -> list[Any]:
        made = ([p()] if isinstance(p, type) else pieces_of(p, *spaces) for p in pieces)
        return [piece for some in made for piece in some]

    return build


def _vectorize_mode(here: Validator, value: str) -> Any:
    from gymnasium import VectorizeMode

    modes = [mode.value for mode in VectorizeMode]
    if value not in modes:
        here.problem(f"{here.name}={value!r} must be one of {', '.join(modes)}.")
        return None
    return VectorizeMode(value)


def imported(here: Validator, path: Any) -> Any:
    """The object at an import path such as ``package.module.Class``; None if there is none.

    Anything but a text is returned as it is.
    """
    if not isinstance(path, str):
        return path
    try:
        return object_at(path)
    except ValueError as error:
        here.problem(f"{here.name}={path!r}: {error}")
        return None


def object_at(path: str) -> Any:
    """The object at an import path such as ``package.module.Class`` or ``package.module:function``.

    Raises:
        ValueError: If there is none.
    """
    module_name, _, attribute = path.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{error}. An import path such as package.module.Name is needed."
        ) from error
