"""The recurrent state as a column of RLlib's batches, and helpers for columns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.utils.spaces.space_utils import batch as stack
from torch import Tensor

from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.state import State

# The key of a batch under which a `LiveBatch` takes the place of STATE_IN.
LIVE_BATCH = "live_batch"


def state_from(batch: dict[str, Any], elmur: ELMUR) -> State:
    """The state of a model in a batch's STATE_IN column.

    Raises:
        ValueError: If the column is missing or not that of such a model.
    """
    columns, names = batch.get(Columns.STATE_IN), list(State._fields)
    if not elmur.config.n_before:
        names.remove("context")
    if not isinstance(columns, dict) or set(columns) != set(names):
        found = sorted(columns) if isinstance(columns, dict) else columns
        raise ValueError(
            f"batch['{Columns.STATE_IN}']={found}: must hold {', '.join(names)} with a "
            "batch axis; an episode starts from `module.get_initial_state()`."
        )
    # RLlib narrows integers on their way; positions are counted in 64 bits.
    parts = {name: columns[name].long() for name in ("anchors", "clock")}
    precision = elmur.layers[0].initial_memory.dtype
    parts |= {name: columns[name].to(precision) for name in names if name not in parts}
    nothing = {"context": parts["memory"][:, :, :0]}  # (B, n, 0, d)
    return State(**(nothing | parts))


def lengths_from(batch: dict[str, Any]) -> Tensor | None:
    """Returns how many time steps of each row are data, (B,) int64; None if all are."""
    lengths = batch.get(Columns.SEQ_LENS)
    return None if lengths is None else lengths.long()  # a minibatch holds them as floats


def state_column(state: State) -> dict[str, Tensor]:
    """Converts a state to a dict of tensors, without empty ones, which RLlib cannot store."""
    return {name: widened(part) for name, part in state._asdict().items() if part.numel()}


def widened(x: Tensor) -> Tensor:
    """Returns bfloat16, which NumPy and so RLlib's columns do not have, as float32."""
    return x.float() if x.dtype == torch.bfloat16 else x


def each_leaf(function: Callable[..., Any], column: Any, *others: Any) -> Any:
    """Applies a function to the leaves of columns that are nested alike.

    A column that is no tree is handed to the function at once: walking takes longer than most
    functions.
    """
    if isinstance(column, (np.ndarray, Tensor)):
        return function(column, *others)
    return tree.map_structure(function, column, *others)


def key_of_agent(episode: Any) -> tuple[Any, ...]:
    """Returns the key of an agent's episode in the columns of RLlib's batches."""
    return episode.multi_agent_episode_id, episode.agent_id, episode.module_id


def items_of(column: Any) -> list[Any]:
    """Returns the items of a column of RLlib's, which is a list or keyed by episode."""
    return column if isinstance(column, list) else [i for items in column.values() for i in items]


def stacked(batch: dict[str, Any]) -> dict[str, Any]:
    """Makes (nested) arrays of the columns that connector pieces of a user's have put in a batch.

    A piece adds items or, by `add_n_batch_items`, whole arrays of them. Infos stay a list.
    """
    columns: dict[str, Any] = {name: items_of(column) for name, column in batch.items()}
    for name, items in columns.items():
        if name != Columns.INFOS:
            joined = stack(items, individual_items_already_have_batch_dim="auto")
            columns[name] = each_leaf(np.asarray, joined)  # no `BatchedNdArray` any more
    return columns
