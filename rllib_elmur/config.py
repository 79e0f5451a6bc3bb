"""Every option of ELMUR's model: its default, its range and one sentence; and what an option is."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict

from rllib_elmur.errors import OptionError, nearest

# What may stand in a value's place where Tune chooses the value, such as ``tune.choice([5, 10])``.
Search = Any


def option(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    optional: bool = False,
) -> Any:
    """A dataclass field with its one-sentence description and its inclusive range.

    Args:
        default: The default.
        help: What the option is.
        low: The least value that is allowed.
        high: The greatest one.
        optional: Whether None is allowed.
    """
    metadata = {"help": help, "low": low, "high": high, "optional": optional}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Options with ranges, which are checked on construction.

    Raises:
        OptionError: A ValueError that names the field, the value and what is allowed.
    """

    def __post_init__(self) -> None:
        for name in self.names():
            self.check(name, getattr(self, name))

    @classmethod
    def names(cls) -> list[str]:
        """The names of all options."""
        return [option.name for option in dataclasses.fields(cls)]

    @classmethod
    def check(cls, name: str, value: Any) -> None:
        """Raises an OptionError if a value is not allowed for an option."""
        [option] = [option for option in dataclasses.fields(cls) if option.name == name]
        if option.metadata["optional"] and value is None:
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
        if option.metadata["optional"]:
            kind += ", or None"
        in_range = fits and (low is None or value >= low) and (high is None or value <= high)
        if not in_range:
            raise OptionError(f"{name}={value!r}: must be {kind}.", name)

    @classmethod
    def part_of(cls, options: Mapping[str, Any]) -> Self:
        """Makes options of those keys of a mapping that are one's name; others may stand beside."""
        return cls(**{name: options[name] for name in cls.names() if name in options})


def check_names(
    options: Mapping[str, Any], names: Iterable[str], ignored: Iterable[str] = ()
) -> None:
    """Raises an OptionError for a key that is neither an option's name nor ignored."""
    names, ignored = list(names), set(ignored)
    for key in options:
        if key not in names and key not in ignored:
            raise OptionError(
                f"{key}={options[key]!r} is not an option of ELMUR.{nearest(key, names, 0.6)} "
                f"Options: {', '.join(names)}.",
                str(key),
            )


@dataclass(frozen=True)
class ELMURConfig(Options):
    """The options of ELMUR's model.

    Raises:
        OptionError: On construction, if an option lies outside its range; the message names the
            field, the value and what is allowed.
    """

    d_model: int = option(64, "Width d of tokens and memory embeddings.", low=1)
    n_layers: int = option(1, "Number of layers; each owns a memory.", low=1)
    n_heads: int = option(2, "Attention heads; divides `d_model`.", low=1)
    d_ff: int = option(128, "Hidden width of the feed-forward networks.", low=1)
    segment_length: int = option(1, "Tokens L of a segment; a full one is written.", low=1)
    memory_slots: int = option(32, "Memory embeddings M of each layer.", low=1)
    attention_window: int | None = option(
        8,
        "Tokens W that a token attends to, itself included; None: those of its segment.",
        low=1,
        optional=True,
    )
    lru_blend: float = option(
        0.8, "Share lambda of new content when a filled slot is written; 1 replaces.", 0.0, 1.0
    )
    distance_scale: float = option(
        1.0,
        "Factor on the logits of how long ago a slot was written; 10 learns exact lags sooner.",
        low=0.0,
    )
    rotate_distances: bool = option(
        True, "Learn the logits of distances in shared coordinates: exact lags are learned sooner."
    )
    read_empty_slots: bool = option(
        False,
        "Read slots that were never written, as the paper does; a policy can then count them.",
    )
    mark_start: bool = option(
        True, "Add a learned vector to an episode's first token; memory finds it again by that."
    )
    memory_init_std: float = option(
        0.1, "Standard deviation sigma of the initial memory's draw.", low=0.0
    )
    learned_memory: bool = option(True, "Train the initial memory; False keeps it as drawn.")
    memory_levels: int | None = option(
        2,
        "Values a written slot is rounded to (2: signs, 3: -1..1, 5: -2..2); None: real ones.",
        low=2,
        high=127,
        optional=True,
    )
    memory_commitment: float = option(
        0.0, "Weight of the loss that pulls what is written to where it is rounded to.", low=0.0
    )
    write_before_read: bool = option(
        True, "Write what tokens are before they read memory; M segments then run at once."
    )
    detach_memory: bool = option(
        False, "Stop the gradient between segments, as the paper's authors do."
    )
    norm_first: bool = option(False, "Normalise before each block, with a final norm.")

    def __post_init__(self) -> None:
        super().__post_init__()
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

    @property
    def n_before(self) -> int:
        """Tokens before a segment that its first token attends to."""
        return 0 if self.attention_window is None else self.attention_window - 1

    @property
    def chunk_length(self) -> int:
        """Tokens C of a chunk: what attends together where a sequence is at hand.

        Whole segments, which see the W - 1 tokens before the chunk and their own. Of short chunks
        each sees much the same as the next, of long ones most is hidden from most tokens: about 16
        was the quickest for windows of 64 to 256 tokens.
        """
        return -(-min(self.n_before + 1, 16) // self.segment_length) * self.segment_length


class ModelArguments(TypedDict, total=False):
    """The options of `ELMURConfig` as keyword arguments, for an editor to complete."""

    d_model: int | Search
    n_layers: int | Search
    n_heads: int | Search
    d_ff: int | Search
    segment_length: int | Search
    memory_slots: int | Search
    attention_window: int | Search | None
    lru_blend: float | Search
    distance_scale: float | Search
    rotate_distances: bool | Search
    read_empty_slots: bool | Search
    mark_start: bool | Search
    memory_init_std: float | Search
    learned_memory: bool | Search
    memory_levels: int | Search | None
    memory_commitment: float | Search
    write_before_read: bool | Search
    detach_memory: bool | Search
    norm_first: bool | Search


# The memory of the paper: attention ends with the segment, and two slots of real values a layer. A
# proof needs this attention and `memory_levels`.
PAPER: ModelArguments = {
    "n_layers": 2,
    "n_heads": 4,
    "segment_length": 5,
    "memory_slots": 2,
    "attention_window": None,
    "rotate_distances": False,
    "read_empty_slots": True,
    "mark_start": False,
    "memory_levels": None,
    "write_before_read": False,
}
