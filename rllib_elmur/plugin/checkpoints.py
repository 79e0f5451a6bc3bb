"""Reads a policy from an algorithm's checkpoint, without building the algorithm."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.cloudpickle
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_elmur.errors import UserError
from rllib_elmur.plugin import formats
from rllib_elmur.plugin.connectors import BatchToModule
from rllib_elmur.plugin.default_pieces import TO_MODULE
from rllib_elmur.plugin.module import is_elmur

_MODULES = Path("learner_group/learner/rl_module")
_PIPELINE = Path("env_runner/env_to_module_connector")


@dataclass
class Policy:
    """A trained policy and how it was trained.

    Attributes:
        path: The checkpoint.
        settings: The algorithm's config as a mapping.
        module: The RLModule with its weights.
        connectors: Names of the pieces between environment and module that are not RLlib's own.
    """

    path: Path
    settings: dict[str, Any]
    module: RLModule
    connectors: list[str]

    @property
    def env_config(self) -> dict[str, Any]:
        """The options of the environment in evaluation: the training's, then evaluation's."""
        overlay = (self.settings.get("evaluation_config") or {}).get("env_config") or {}
        return {**self.settings.get("env_config", {}), **overlay}


def find(path: Path) -> Path:
    """Finds the checkpoint at a path: itself, or the newest whole one of a folder of results.

    Raises:
        UserError: If there is none.
    """
    full = path.expanduser().resolve()
    if not full.is_dir():
        raise UserError(f"{path}: no such checkpoint.")
    if (full / _MODULES).is_dir():
        return full
    below = full.glob("**/checkpoint_*")
    for folder in sorted(below, key=lambda folder: folder.stat().st_mtime, reverse=True):
        if _is_whole(folder):
            return folder
    raise UserError(
        f"{path}: not a checkpoint of an RLlib algorithm, and holds none that is whole."
    )


def _is_whole(checkpoint: Path) -> bool:
    """Whether no file of a checkpoint is missing or cut short.

    A training that was killed, or whose disk was full, leaves the last one as far as it came. Each
    component's metadata name the pickles beside them, and a pickle ends with a full stop.
    """
    components = [checkpoint / "env_runner", *(checkpoint / part for part in _MODULES.parents)]
    modules = checkpoint / _MODULES
    try:
        for folder in {*components, modules, *filter(Path.is_dir, modules.iterdir())}:
            name = "rllib_checkpoint.json" if folder == checkpoint else "metadata.json"
            metadata = json.loads((folder / name).read_text())
            [state] = folder.glob(f"{metadata['state_file']}.*")
            for file in (state, folder / metadata["class_and_ctor_args_file"]):
                if not file.read_bytes().endswith(b"."):
                    return False
    except (OSError, ValueError, KeyError):
        return False
    return True


def load(checkpoint: Path) -> Policy:
    """Loads the policy of an algorithm's checkpoint (see `find`).

    Raises:
        UserError: If there is no checkpoint, if it has another format, or if its module cannot be
            built.
    """
    path = find(checkpoint)
    module_path = path / _MODULES / DEFAULT_MODULE_ID
    if not module_path.is_dir():
        found = sorted(entry.name for entry in (path / _MODULES).iterdir() if entry.is_dir())
        raise UserError(
            f"{checkpoint}: holds the modules {', '.join(found)} of a multi-agent training; "
            "evaluation of these is not supported."
        )
    try:
        require_format(path)
        settings, _ = _constructor(path)
        module = RLModule.from_checkpoint(str(module_path))
        _, keywords = _constructor(path / _PIPELINE)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{checkpoint}: its module cannot be restored: {type(error).__name__}: {error}"
        ) from error
    pieces = [piece[0] for piece in keywords.get("connectors", ())]
    module.eval()  # ty: ignore[missing-attribute]
    return Policy(path, settings, module, [p.__name__ for p in pieces if _changes_input(p)])


def require_format(checkpoint: Path) -> None:
    """Raises a UserError if an ELMUR module in an algorithm's checkpoint has another format."""
    for module in filter(Path.is_dir, (checkpoint / _MODULES).glob("*")):
        with open(module / "class_and_ctor_args.pkl", "rb") as file:
            if not is_elmur(ray.cloudpickle.load(file)["class"]):
                continue
        try:
            formats.require_checkpoint(module)
        except ValueError as error:
            raise UserError(str(error)) from error


def _changes_input(piece: type) -> bool:
    """Whether a piece does more than carry observations and the recurrent state to the module."""
    return piece not in (*TO_MODULE, BatchToModule)


def algorithm_config(policy: Policy) -> Any:
    """The AlgorithmConfig that the checkpoint was made with."""
    with open(policy.path / "class_and_ctor_args.pkl", "rb") as file:
        algorithm = ray.cloudpickle.load(file)["class"]
    return algorithm.get_default_config().update_from_dict(policy.settings)


def _constructor(path: Path) -> tuple[Any, dict[str, Any]]:
    """The first argument and the keyword arguments that an object was constructed with."""
    with open(path / "class_and_ctor_args.pkl", "rb") as file:
        arguments, keywords = ray.cloudpickle.load(file)["ctor_args_and_kwargs"]
    first = arguments[0] if arguments else keywords.get("config")
    return (first.to_dict() if hasattr(first, "to_dict") else first), keywords
