"""Every option of ELMUR: its default, its range and one sentence. No default stands elsewhere."""

import dataclasses
import difflib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rllib_elmur.errors import OptionError


def _option(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field with its one-sentence description and its inclusive range."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})


@dataclass(frozen=True)
class ELMURConfig:
    """The options of an ELMUR policy.

    Raises:
        ValueError: On construction, if an option lies outside its range; the message names the
            field, the value and what is allowed.
    """

    d_model: int = _option(64, "Width d of tokens and memory embeddings.", low=1)
    n_layers: int = _option(2, "Number of layers; each owns a memory.", low=1)
    n_heads: int = _option(4, "Attention heads; divides `d_model`.", low=1)
    d_ff: int = _option(128, "Hidden width of the feed-forward networks.", low=1)
    segment_length: int = _option(5, "Tokens L of a segment; a full one is written.", low=1)
    memory_slots: int = _option(2, "Memory embeddings M of each layer.", low=1)
    attention_window: int | None = _option(
        None,
        "Tokens W that a token attends to, itself included, in whatever segment; None: its own.",
        low=1,
    )
    lru_blend: float = _option(
        0.8, "Share lambda of new content when a filled slot is written; 1 replaces.", 0.0, 1.0
    )
    memory_init_std: float = _option(
        0.1, "Standard deviation sigma of the initial memory's draw.", low=0.0
    )
    learned_memory: bool = _option(True, "Train the initial memory; False keeps it as drawn.")
    memory_levels: int | None = _option(
        None,
        "Values a written slot is rounded to (2: signs, 3: -1..1, 5: -2..2); None: real ones.",
        low=2,
        high=127,
    )
    memory_commitment: float = _option(
        0.0, "Weight of the loss that pulls what is written to where it is rounded to.", low=0.0
    )
    memory_lr_scale: float = _option(
        1.0, "Learning rate of what is written, as a share of the rest's; 0.1 is steadier.", low=0.0
    )
    weight_decay: float = _option(
        0.0, "Decoupled weight decay (AdamW) of all but the encoder, per step and rate.", low=0.0
    )
    encoder_weight_decay: float = _option(
        0.0, "The same for the observation's encoder: inputs that say nothing fade.", low=0.0
    )
    advantage_std_floor: float = _option(
        0.0, "PPO divides advantages by their standard deviation, or by this if larger.", low=0.0
    )
    detach_memory: bool = _option(
        False, "Stop the gradient between segments, as the paper's authors do."
    )
    norm_first: bool = _option(False, "Normalise before each block, with a final norm.")
    previous_action: bool = _option(False, "Read the previous action with each observation.")
    previous_reward: bool = _option(False, "Read the previous reward with each observation.")
    max_seq_len: int = _option(35, "Time steps of a training sequence.", low=1)

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            _check(option, getattr(self, option.name))
        if self.d_model % self.n_heads:
            raise OptionError(
                f"n_heads={self.n_heads} does not divide d_model={self.d_model}; "
                "d_model must be a multiple of n_heads.",
                *("n_heads", "d_model"),
            )
        if self.memory_commitment and self.memory_levels is None:
            raise OptionError(
                f"memory_commitment={self.memory_commitment} needs a rounded memory, and "
                "memory_levels=None rounds nothing; memory_levels must be >= 2, such as 2.",
                *("memory_commitment", "memory_levels"),
            )
        if self.max_seq_len < 2 * self.segment_length:
            warnings.warn(
                f"max_seq_len={self.max_seq_len} is less than two segments of "
                f"segment_length={self.segment_length}: what is written in a training sequence is "
                f"not read there, so memory gets no gradient. Use at least "
                f"{2 * self.segment_length}.",
                stacklevel=3,
            )

    @property
    def n_before(self) -> int:
        """Tokens before a segment that its first token attends to."""
        return 0 if self.attention_window is None else self.attention_window - 1

    @classmethod
    def from_dict(cls, options: Mapping[str, Any], ignored: Iterable[str] = ()) -> "ELMURConfig":
        """Makes a config from a mapping.

        Args:
            options: Option names and values.
            ignored: Keys that may stand in `options` without being an option here (RLlib merges
                settings of its own into a module's `model_config`).

        Raises:
            ValueError: If a key is neither an option nor ignored, or a value is out of range.
        """
        cls.check_names(options, ignored)
        names = [option.name for option in dataclasses.fields(cls)]
        return cls(**{key: value for key, value in options.items() if key in names})

    @classmethod
    def check_names(cls, options: Mapping[str, Any], ignored: Iterable[str] = ()) -> None:
        """Raises a ValueError for a key that is neither an option nor ignored."""
        names = [option.name for option in dataclasses.fields(cls)]
        for key in options:
            if key not in names and key not in ignored:
                near = difflib.get_close_matches(str(key), names, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise OptionError(
                    f"{key}={options[key]!r} is not an option of ELMUR.{hint} "
                    f"Options: {', '.join(names)}.",
                    str(key),
                )


def _check(option: dataclasses.Field, value: Any) -> None:
    """Raises a ValueError naming the field, the value and what is allowed."""
    if option.default is None and value is None:
        return
    low, high = option.metadata["low"], option.metadata["high"]
    if isinstance(option.default, bool):
        kind, fits = "a bool", isinstance(value, bool)
    elif isinstance(option.default, float):
        kind = "a number"
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        kind, fits = "an integer", isinstance(value, int) and not isinstance(value, bool)
    if low is not None:
        kind += f" >= {low}"
    if high is not None:
        kind += f" and <= {high}"
    if option.default is None:
        kind += ", or None"
    in_range = fits and (low is None or value >= low) and (high is None or value <= high)
    if not in_range:
        raise OptionError(f"{option.name}={value!r}: must be {kind}.", option.name)
