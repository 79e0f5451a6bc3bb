"""Refuses weights that do not fit a module, and says what the two modules differ in."""

from collections.abc import Iterable, Mapping
from typing import Any

from rllib_elmur.config import ELMURConfig
from rllib_elmur.errors import OptionError
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
    "norm_first",
)
_SPACES = ("observation_space", "action_space")


class ForeignWeights(ValueError):
    """Weights that are those of another module."""


def require_fitting(
    ours: Mapping[str, Any], given: Mapping[str, Any], optional: Iterable[str]
) -> None:
    """Raises a ForeignWeights if weights have other names or shapes than a module's.

    RLlib would load the part of them that has the same names.

    Args:
        ours: The module's parameters by name.
        given: The weights.
        optional: Attributes of the module whose parameters may be on one side only.
    """
    attributes = set(optional)
    differ = {
        name: f"is on one side only ({len(ours)} parameters here, {len(given)} there)"
        for name in ours.keys() ^ given.keys()
        if name.split(".")[0] not in attributes
    } or {
        name: f"has the shape {tuple(given[name].shape)} there and {tuple(value.shape)} here"
        for name, value in ours.items()
        if name in given and tuple(given[name].shape) != tuple(value.shape)
    }
    if differ:
        name = min(differ)
        raise ForeignWeights(
            f"The weights do not belong to an ELMUR module with these options and spaces: {name!r} "
            f"{differ[name]}."
        )


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
