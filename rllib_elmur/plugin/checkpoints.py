"""Reads a policy from an algorithm's checkpoint, without building the algorithm."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_elmur.errors import UserError
from rllib_elmur.plugin import default_pieces, env_registrations, formats, import_paths, ray_files
from rllib_elmur.plugin.environments import evaluation_options
from rllib_elmur.plugin.module import is_elmur
from rllib_elmur.plugin.rllib_internals import connector_builders


@dataclass
class Checkpoint:
    """A trained policy and how it was trained.

    Attributes:
        path: The checkpoint.
        settings: The algorithm's config as a mapping.
        module_id: The id of the policy's module.
        module: The RLModule with its weights.
        connectors: Names of the pieces between environment and module, and back, that are not
            RLlib's own.
        observation_space: What goes into these pieces; of several agents, a Dict by agent.
        action_space: Of the environment, likewise.
    """

    path: Path
    settings: dict[str, Any]
    module_id: str
    module: RLModule
    connectors: list[str]
    observation_space: Any
    action_space: Any

    @property
    def env_config(self) -> dict[str, Any]:
        """The options of the environment in evaluation: the training's, then evaluation's."""
        return evaluation_options(
            self.settings.get("env_config", {}), self.settings.get("evaluation_config")
        )


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


def load(checkpoint: Path, module_id: str | None = None) -> Checkpoint:
    """Loads the policy of an algorithm's checkpoint (see `find`).

    Args:
        checkpoint: The checkpoint, or a folder of results.
        module_id: The id of the policy's module in a training of several agents; None: that of one.

    Raises:
        UserError: If there is no checkpoint, if it has another format or no such module, or if the
            module cannot be built.
    """
    path = find(checkpoint)
    import_paths.add_those_of(path)
    modules = ray_files.modules_of(path)
    wanted = DEFAULT_MODULE_ID if module_id is None else module_id
    if wanted not in modules:
        missing = "" if module_id is None else f"no module {module_id!r}, but "
        raise UserError(
            f"{checkpoint}: holds {missing}the modules {', '.join(modules)} of a multi-agent "
            "training; `rllib_elmur.load_policy(checkpoint, module_id=...)` acts with one of these."
        )
    try:
        require_format(path)
        env_registrations.register_that_of(path)
        settings = _settings(path)
        module: Any = RLModule.from_checkpoint(str(modules[wanted]))
        folders = ray_files.pipelines_of(path) or ()
        pipelines = [ray_files.constructed(folder) for folder in folders]
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            f"{checkpoint}: {error}, which its training imported. Put its folder into PYTHONPATH."
        ) from error
    except Exception as error:
        raise UserError(
            f"{checkpoint}: its module cannot be restored: {type(error).__name__}: {error}"
        ) from error
    if isinstance(module, torch.nn.Module):  # RLlib's random one is none
        module.eval()
    pieces = [piece[0] for made in pipelines for piece in made.keywords.get("connectors", ())]
    others = [piece.__name__ for piece in pieces if not default_pieces.is_default(piece)]
    spaces: Any = pipelines[0].arguments if pipelines else (None, None)
    found = Checkpoint(path, settings, wanted, module, others, *spaces)
    if not pipelines:
        _complete(found)
    for name in ("observation_space", "action_space"):
        if getattr(found, name) is None:
            setattr(found, name, getattr(module, name))
    return found


def load_all(checkpoint: Path) -> dict[str, Checkpoint]:
    """Loads all policies of an algorithm's checkpoint, by the ids of their modules (see `load`)."""
    modules = ray_files.modules_of(find(checkpoint))
    return {module_id: load(checkpoint, module_id) for module_id in modules}


def _complete(checkpoint: Checkpoint) -> None:
    """Adds what the config of a training from recordings says of connectors, which were not saved.

    It had no evaluation, and so no pipelines.
    """
    config = algorithm_config(checkpoint)
    if connector_builders(config)[0] is not None:
        checkpoint.connectors = ["env_to_module_connector"]
        checkpoint.observation_space = config.observation_space  # what stands before it


def environment_of(checkpoint: Checkpoint) -> Any:
    """The environment of the training.

    Raises:
        UserError: If it had none, as one from recordings may.
    """
    if checkpoint.settings["env"] is None:
        raise UserError(f"{checkpoint.path}: its training had no environment; name one with --env.")
    return checkpoint.settings["env"]


def require_format(checkpoint: Path) -> None:
    """Raises a UserError if an ELMUR module in an algorithm's checkpoint has another format."""
    for module in ray_files.modules_of(checkpoint).values():
        if not is_elmur(ray_files.constructed(module).of_class):
            continue
        try:
            formats.require_checkpoint(module)
        except ValueError as error:
            raise UserError(str(error)) from error


def algorithm_config(checkpoint: Checkpoint) -> Any:
    """The AlgorithmConfig that the checkpoint was made with."""
    algorithm: Any = ray_files.constructed(checkpoint.path).of_class
    return algorithm.get_default_config().update_from_dict(checkpoint.settings)


def _settings(checkpoint: Path) -> dict[str, Any]:
    """The algorithm's config as a mapping."""
    made = ray_files.constructed(checkpoint)
    config = made.arguments[0] if made.arguments else made.keywords["config"]
    return config.to_dict() if hasattr(config, "to_dict") else config
