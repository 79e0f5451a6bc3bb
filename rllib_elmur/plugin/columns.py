"""The only place where the recurrent state and RLlib's columns are converted into each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tree
from ray.rllib.core.columns import Columns
from torch import Tensor

from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.state import State
from rllib_elmur.plugin import formats

# The key of a batch under which a `LiveBatch` takes the place of STATE_IN.
LIVE_BATCH = "live_batch"
# The column of an episode's extra model outputs whose items are None or `Snapshots`.
SNAPSHOTS = "state_snapshots"


@dataclass(slots=True)
class Snapshots:
    """The state before a time step and after it, where a row of a train batch begins there.

    No tuple: to numpy and RLlib that is a structure, this is an item.
    """

    before: bytes | None = None
    after: bytes | None = None


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
    integers = {name: columns[name].long() for name in ("anchors", "clock")}
    nothing = {"context": columns["memory"][:, :, :0]}  # (B, n, 0, d)
    return State(**{**nothing, **columns, **integers})


def lengths_from(batch: dict[str, Any]) -> Tensor | None:
    """How many time steps of each row are data, (B,) int64; None if all are."""
    lengths = batch.get(Columns.SEQ_LENS)
    return None if lengths is None else lengths.long()  # a minibatch holds them as floats


def state_column(state: State) -> dict[str, Tensor]:
    """The state as RLlib stores it: a dict of tensors, of which RLlib can store no empty one."""
    return {name: part for name, part in state._asdict().items() if part.numel()}


def _memory_type(elmur: ELMUR) -> np.dtype:
    """What a memory embedding travels as: a rounded one consists of small integers."""
    return np.dtype(np.float32 if elmur.config.memory_levels is None else np.int8)


_FORMAT = bytes([formats.SNAPSHOT])


def pack_rows(state: State, elmur: ELMUR) -> list[bytes]:
    """A snapshot of each row of a state of the model (`formats.SNAPSHOT` is its first byte)."""
    clock = state.clock.numpy(force=True)
    anchors = state.anchors.numpy(force=True)
    memory = state.memory.numpy(force=True).astype(_memory_type(elmur))
    segment = state.segment.numpy(force=True).astype(np.float32)
    context = state.context.numpy(force=True).astype(np.float32)
    phase = clock % segment.shape[1]
    known = np.minimum(clock - phase, context.shape[2])  # tokens of the context since the start
    return [
        b"".join((_FORMAT, *(part.tobytes() for part in (c, a, m, x[:, x.shape[1] - k :], s[:p]))))
        for c, a, m, x, k, s, p in zip(
            clock, anchors, memory, context, known, segment, phase, strict=True
        )
    ]


def unpack_rows(snapshots: list[bytes | None], elmur: ELMUR) -> dict[str, np.ndarray]:
    """A STATE_IN column of what `pack_rows` returned; the initial state where there is None.

    Raises:
        ValueError: If a snapshot has another format.
    """
    like = elmur.initial_state()
    columns = {
        name: np.repeat(value.numpy(force=True), len(snapshots), axis=0)
        for name, value in state_column(like).items()
    }
    n_anchors, (n_layers, n_before) = like.anchors.numel(), like.context.shape[1:3]
    memory_type = _memory_type(elmur)
    memory_begin = 1 + 8 + 8 * n_anchors
    memory_end = memory_begin + like.memory.numel() * memory_type.itemsize
    for row, snapshot in enumerate(snapshots):
        if snapshot is None:
            continue
        formats.require_snapshot(snapshot[0])
        integers = np.frombuffer(snapshot, np.int64, 1 + n_anchors, offset=1)
        memory = np.frombuffer(snapshot[memory_begin:memory_end], memory_type)
        tokens = np.frombuffer(snapshot[memory_end:], np.float32)
        tokens = tokens.reshape(-1, like.segment.shape[-1])
        clock = int(integers[0])
        known = min(clock - clock % like.segment.shape[1], n_before)
        if known:
            context = tokens[: n_layers * known].reshape(n_layers, known, -1)
            columns["context"][row, :, n_before - known :] = context
        tokens = tokens[n_layers * known :]
        columns["clock"][row] = integers[0]
        columns["anchors"][row] = integers[1:].reshape(like.anchors.shape[1:])
        columns["memory"][row] = memory.reshape(like.memory.shape[1:])
        columns["segment"][row, : len(tokens)] = tokens
    return columns


def snapshot_column(snapshots: list[Snapshots | None]) -> list[np.ndarray]:
    """Snapshots as items that RLlib's episodes cut, slice, stack and ship like any other."""
    return [_NO_SNAPSHOT if s is None else np.array(s, dtype=object) for s in snapshots]


_NO_SNAPSHOT = np.array(None, dtype=object)


def each_leaf(function: Callable[..., Any], column: Any, *others: Any) -> Any:
    """Applies a function to the leaves of columns that are nested alike; a leaf alone is no tree.

    Walking through a tree that has only one leaf takes longer than most functions.
    """
    if isinstance(column, (np.ndarray, Tensor)):
        return function(column, *others)
    return tree.map_structure(function, column, *others)


def items_of(column: Any) -> list[Any]:
    """A column of RLlib's, a list or keyed by episode, as a list."""
    return column if isinstance(column, list) else [i for items in column.values() for i in items]
