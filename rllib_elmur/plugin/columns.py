"""The only place where the recurrent state and RLlib's columns are converted into each other."""

from typing import Any

from ray.rllib.core.columns import Columns
from torch import Tensor

from rllib_elmur.model.state import State


def state_from(batch: dict[str, Any]) -> State:
    """The state in a batch's STATE_IN column.

    Raises:
        ValueError: If the column is missing or not ELMUR's.
    """
    columns = batch.get(Columns.STATE_IN)
    if not isinstance(columns, dict) or set(columns) != set(State._fields):
        found = sorted(columns) if isinstance(columns, dict) else columns
        raise ValueError(
            f"batch['{Columns.STATE_IN}']={found}: must hold {', '.join(State._fields)} with a "
            "batch axis; an episode starts from `module.get_initial_state()`."
        )
    # RLlib narrows integers on their way; positions are counted in 64 bits.
    integers = {name: columns[name].long() for name in ("anchors", "clock")}
    return State(**{**columns, **integers})


def lengths_from(batch: dict[str, Any]) -> Tensor | None:
    """How many time steps of each row are data, (B,) int64; None if all are."""
    lengths = batch.get(Columns.SEQ_LENS)
    return None if lengths is None else lengths.long()  # a minibatch holds them as floats


def state_column(state: State) -> dict[str, Tensor]:
    """The state as RLlib stores it: a dict of tensors."""
    return state._asdict()
