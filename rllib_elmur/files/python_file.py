"""Runs an experiment's Python file."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from typing import Any

from rllib_elmur.errors import UserError


def run(file: Path) -> dict[str, Any]:
    """Runs a file and returns the names that it defines.

    Its classes and functions travel to other processes as code: these cannot import the file, and
    an environment that it registers is made from them.

    Raises:
        UserError: If there is no such file, or it fails; the message has the line.
    """
    import gymnasium as gym
    from ray import cloudpickle

    from rllib_elmur.plugin.env_registrations import register_with_rllib

    if not file.is_file():
        raise UserError(f"{file}: no such file.")
    spec = spec_from_file_location(f"experiment {file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    cloudpickle.register_pickle_by_value(module)
    known = set(gym.registry)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        where = [
            frame.lineno
            for frame in extract_tb(error.__traceback__)
            if Path(frame.filename) == file.absolute()
        ]
        line = f":{where[-1]}" if where else ""
        raise UserError(f"{file}{line}: {type(error).__name__}: {error}") from error
    env = getattr(vars(module).get("config"), "env", None)
    if env in gym.registry.keys() - known:
        register_with_rllib(env)
    return vars(module)
