"""Says what a module and a saved one, whose weights do not fit it, differ in."""

from typing import Any

from rllib_elmur.config import ELMURConfig
from rllib_elmur.errors import OptionError
from rllib_elmur.model.fitting import ForeignWeights
from rllib_elmur.plugin import ray_files
from rllib_elmur.plugin.policy_options import as_mapping

# The options of the model that names and shapes of its parameters hang on.
SIZES = (
    "d_model",
    "n_layers",
    "n_heads",
    "d_ff",
    "segment_length",
    "memory_slots",
    "attention_window",
    "rotate_distances",
    "read_empty_slots",
    "mark_start",
    "norm_first",
)
_SPACES = ("observation_space", "action_space")


def explained(
    error: ForeignWeights, module: Any, folder: Any, filesystem: Any = None
) -> ValueError:
    """The error to raise for a saved module's weights: it names the options, or the space."""
    saved = ray_files.constructed(folder, filesystem).keywords
    other = other_sizes(saved.get("model_config"), module.model_config)
    if other is not None:
        return OptionError(f"{folder}: {other}", *other.options)
    for name in _SPACES:
        if saved.get(name) != getattr(module, name):
            return ValueError(
                f"{folder}: the module was saved for the {name.replace('_', ' ')} "
                f"{saved.get(name)}, and this one is for {getattr(module, name)}."
            )
    return ValueError(f"{folder}: {error}")


def other_sizes(saved: Any, ours: Any) -> OptionError | None:
    """Says in which sizes a saved model and another one differ; None if in none.

    Args:
        saved: The saved module's `model_config`.
        ours: That of the module which is to get its weights.
    """
    pair = [ELMURConfig.part_of(as_mapping(options)) for options in (saved, ours)]
    names = [name for name in SIZES if getattr(pair[0], name) != getattr(pair[1], name)]
    if not names:
        return None
    there, here = (
        " and ".join(f"{name}={getattr(config, name)!r}" for name in names) for config in pair
    )
    return OptionError(
        f"the module was saved with {there}, and this one has {here}: weights fit only a module "
        "of the same sizes.",
        *names,
    )
