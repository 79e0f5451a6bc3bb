"""Reads a policy from an algorithm's checkpoint, without building the algorithm."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_elmur.errors import UserError
from rllib_elmur.plugin import formats, ray_files
from rllib_elmur.plugin.connectors import BatchToModule
from rllib_elmur.plugin.default_pieces import TO_MODULE
from rllib_elmur.plugin.module import is_elmur


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
    if ray_files.has_modules(full):
        return full
    for folder in ray_files.checkpoints_below(full):
        if ray_files.is_whole(folder):
            return folder
    raise UserError(
        f"{path}: not a checkpoint of an RLlib algorithm, and holds none that is whole."
    )


def load(checkpoint: Path) -> Policy:
    """Loads the policy of an algorithm's checkpoint (see `find`).

    Raises:
        UserError: If there is no checkpoint, if it has another format, or if its module cannot be
            built.
    """
    path = find(checkpoint)
    modules = ray_files.modules_of(path)
    if DEFAULT_MODULE_ID not in modules:
        raise UserError(
            f"{checkpoint}: holds the modules {', '.join(modules)} of a multi-agent training; "
            "evaluation of these is not supported."
        )
    try:
        require_format(path)
        settings = _settings(path)
        module = RLModule.from_checkpoint(str(modules[DEFAULT_MODULE_ID]))
        to_module, _ = ray_files.pipelines_of(path)
        keywords = ray_files.constructed(to_module).keywords
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
    for module in ray_files.modules_of(checkpoint).values():
        if not is_elmur(ray_files.constructed(module).of_class):
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
    algorithm: Any = ray_files.constructed(policy.path).of_class
    return algorithm.get_default_config().update_from_dict(policy.settings)


def _settings(checkpoint: Path) -> dict[str, Any]:
    """The algorithm's config as a mapping."""
    made = ray_files.constructed(checkpoint)
    config = made.arguments[0] if made.arguments else made.keywords["config"]
    return config.to_dict() if hasattr(config, "to_dict") else config
