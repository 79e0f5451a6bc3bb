"""Classes and functions that a file names by their import paths."""

import importlib
import re
from typing import Any

from rllib_elmur.files.source import KeyPath, Source

_TAKES_OBJECT = re.compile(r"^env$|^callbacks|_(class|cls|fn|function|connector)$")


def with_objects(source: Source, path: KeyPath, content: dict[str, Any]) -> dict[str, Any]:
    """Puts the classes and functions in place of their import paths."""
    for key, value in content.items():
        here = (*path, key)
        if key == "evaluation_config" and value:
            content[key] = with_objects(source, here, value)
        elif key == "gym_env_vectorize_mode" and isinstance(value, str):
            content[key] = _vectorize_mode(source, here, value)
        elif not _TAKES_OBJECT.search(key):
            continue
        elif isinstance(value, list):
            content[key] = [imported(source, here, item) for item in value]
        elif isinstance(value, str) and (key != "env" or _is_class_path(value)):
            content[key] = imported(source, here, value)
    return content


def _vectorize_mode(source: Source, path: KeyPath, value: str) -> Any:
    from gymnasium import VectorizeMode

    modes = [mode.value for mode in VectorizeMode]
    if value not in modes:
        raise source.problem(path, f"{path[-1]}={value!r} must be one of {', '.join(modes)}.")
    return VectorizeMode(value)


def _is_class_path(env: str) -> bool:
    """Whether an `env` is a class path rather than a registered id such as ``pkg/Maze-v0``."""
    return re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", env) is not None


def imported(source: Source, path: KeyPath, name: Any) -> Any:
    """The object at an import path such as ``package.module.Class``."""
    if not isinstance(name, str):
        return name
    module_name, _, attribute = name.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise source.problem(
            path,
            f"{path[-1]}={name!r}: {error}. An import path such as package.module.Name is needed.",
        ) from error
