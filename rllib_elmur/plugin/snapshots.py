"""Snapshots: the state of single episodes as bytes, from an env runner to a learner."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.state import State
from rllib_elmur.plugin import formats
from rllib_elmur.plugin.columns import state_column

# The column of an episode's extra model outputs whose items are None or `Snapshots`.
SNAPSHOTS = "state_snapshots"


@dataclass(slots=True)
class Snapshots:
    """The state before a time step and after it, where a row of a train batch begins there.

    No tuple: to numpy and RLlib that is a structure, this is an item.
    """

    before: bytes | None = None
    after: bytes | None = None


def snapshot_column(snapshots: list[Snapshots | None]) -> list[np.ndarray]:
    """Snapshots as items that RLlib's episodes cut, slice, stack and ship like any other."""
    return [_NO_SNAPSHOT if s is None else np.array(s, dtype=object) for s in snapshots]


_NO_SNAPSHOT = np.array(None, dtype=object)


def pack_rows(state: State, elmur: ELMUR) -> list[bytes]:
    """A snapshot of each row of a state of the model (`formats.SNAPSHOT` is its first byte).

    Only what is known travels: slots that were written, the open segment's tokens, and of the
    window before that segment the tokens since the episode's start.
    """
    clock, anchors = state.clock.numpy(force=True), state.anchors.numpy(force=True)
    parts = state.memory, state.segment, state.context
    memory, segment, context = (part.float().numpy(force=True) for part in parts)
    memory = memory.astype(_memory_type(elmur))
    phase = clock % segment.shape[1]
    begin = context.shape[2] - np.minimum(clock - phase, context.shape[2])
    rows = zip(clock, anchors, memory, context, begin, segment, phase, strict=True)
    return [
        _FORMAT + b"".join(part.tobytes() for part in (c, a, m[a >= 0], x[:, b:], s[:p]))
        for c, a, m, x, b, s, p in rows
    ]


def unpack_rows(snapshots: list[bytes | None], elmur: ELMUR) -> dict[str, np.ndarray]:
    """A STATE_IN column of what `pack_rows` returned; the initial state where there is None.

    Raises:
        ValueError: If a snapshot has another format.
    """
    start = state_column(elmur.initial_state(len(snapshots)))
    columns = {name: part.numpy(force=True) for name, part in start.items()}
    for row, snapshot in enumerate(snapshots):
        if snapshot is not None:
            _unpack(snapshot, {name: column[row, ...] for name, column in columns.items()}, elmur)
    return columns


def _unpack(snapshot: bytes, state: dict[str, np.ndarray], elmur: ELMUR) -> None:
    """Writes a snapshot into the parts of an initial state."""
    formats.require_snapshot(snapshot[0])
    n_layers, n_before = elmur.config.n_layers, elmur.config.n_before
    (length, d), n_anchors = state["segment"].shape, state["anchors"].size
    integers: NDArray[np.int64] = np.frombuffer(snapshot, np.int64, 1 + n_anchors, offset=1)
    clock, anchors = integers[0], integers[1:].reshape(state["anchors"].shape)
    written, end = anchors >= 0, 1 + integers.nbytes
    memory = np.frombuffer(snapshot, _memory_type(elmur), written.sum() * d, offset=end)
    tokens = np.frombuffer(snapshot, np.float32, offset=end + memory.nbytes).reshape(-1, d)
    known = min(clock - clock % length, n_before)
    state["clock"][...], state["anchors"][...] = clock, anchors
    state["memory"][written] = memory.reshape(-1, d)
    if known:
        context = tokens[: n_layers * known].reshape(n_layers, known, d)
        state["context"][:, n_before - known :] = context
    open_tokens = tokens[n_layers * known :]
    state["segment"][: len(open_tokens)] = open_tokens


def _memory_type(elmur: ELMUR) -> np.dtype:
    """What a memory embedding travels as: a rounded one consists of small integers."""
    return np.dtype(np.float32 if elmur.config.memory_levels is None else np.int8)


_FORMAT = bytes([formats.SNAPSHOT])
