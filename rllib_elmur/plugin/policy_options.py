"""The options of a policy beside its model: its input, its mask, the length of its sequences.

They travel in `model_config`, beside the model's options.
"""

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from rllib_elmur.config import ELMURConfig, Options, Search, check_names, option
from rllib_elmur.errors import OptionError
from rllib_elmur.plugin.learner.options import LearnerOptions


@dataclass(frozen=True)
class PolicyOptions(Options):
    """The options of a policy beside its model."""

    previous_action: bool = option(False, "Read the previous action with each observation.")
    previous_reward: bool = option(False, "Read the previous reward with each observation.")
    action_mask: bool = option(
        False, "Take no action whose entry in the observation's part `action_mask` is 0."
    )
    max_seq_len: int = option(64, "Time steps of a training sequence.", low=1)


class PolicyArguments(TypedDict, total=False):
    """The options of `PolicyOptions` as keyword arguments, for an editor to complete."""

    previous_action: bool
    previous_reward: bool
    action_mask: bool | Search
    max_seq_len: int | Search


def check_model_config(options: Mapping[str, Any], ignored: Iterable[str] = ()) -> None:
    """Raises an OptionError for a key of a `model_config` that is no option of a policy."""
    for name in LearnerOptions.names():
        if name in options:
            raise OptionError(
                f"{name}={options[name]!r} is an option of the learner, not of the model: it "
                "belongs in `learner_config_dict`, or is an argument of `use_elmur`.",
                name,
            )
    check_names(options, [*ELMURConfig.names(), *PolicyOptions.names()], ignored)


def options_of(
    model_config: Mapping[str, Any], ignored: Iterable[str] = ()
) -> tuple[ELMURConfig, PolicyOptions]:
    """The options in a `model_config`.

    Args:
        model_config: Option names and values.
        ignored: Keys that may stand in it without being an option.

    Raises:
        OptionError: If a key is neither an option nor ignored, or a value is out of range.
    """
    check_model_config(model_config, ignored)
    return ELMURConfig.part_of(model_config), PolicyOptions.part_of(model_config)


def as_mapping(model_config: Any) -> dict[str, Any]:
    """Returns the keys and values of a spec's `model_config`, a mapping, a dataclass or None."""
    if dataclasses.is_dataclass(model_config) and not isinstance(model_config, type):
        return dataclasses.asdict(model_config)
    return model_config or {}


def short_sequences(max_seq_len: int, segment_length: int) -> str | None:
    """Says so if nothing is read in a training sequence that was written in it; else None."""
    if max_seq_len >= 2 * segment_length:
        return None
    return (
        f"max_seq_len={max_seq_len} is less than two segments of segment_length={segment_length}: "
        "what is written in a training sequence is not read there, so memory gets no gradient. "
        f"Use at least {2 * segment_length}."
    )


def warn_of_short_sequences(max_seq_len: int, segment_length: int) -> None:
    """Warns of training sequences in which nothing is read that was written in them."""
    sentence = short_sequences(max_seq_len, segment_length)
    if sentence is not None:
        warnings.warn(sentence, stacklevel=4)  # the line that calls `use_elmur`
