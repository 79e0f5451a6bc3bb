"""What the step schedule keeps between steps: weights, tokens of open segments, slots."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.model.fast import layer as fast
from rllib_elmur.model.fast.ops import stack
from rllib_elmur.model.fast.positions import PositionWeights
from rllib_elmur.model.fast.weights import LayerWeights, WriteWeights
from rllib_elmur.model.state import State

if TYPE_CHECKING:
    from rllib_elmur.model.elmur import ELMUR


class StepWeights(NamedTuple):
    """What a step takes of the weights.

    Attributes:
        layers: The absorbed weights.
        write: Those of all memory tracks, stacked: all layers write at once.
        ring: Position weights by layer and place.
        tables: The distance biases of all layers, one below the other.
        table_begins: Where each layer's begin.
        initial: What an empty slot is read as, (n, 1, M, d).
        initial_projected: Its keys and values, (n, 1, M, H, 2 d).
    """

    layers: list[LayerWeights]
    write: WriteWeights
    ring: list[list[PositionWeights]]
    tables: Tensor
    table_begins: np.ndarray
    initial: Tensor
    initial_projected: Tensor

    @classmethod
    def of(cls, elmur: "ELMUR") -> "StepWeights":
        """The weights of a model as they are now."""
        layers, n_layers = elmur.absorbed.layers(), elmur.config.n_layers
        writes = [weights.write for weights in layers]
        write = stack(writes) if n_layers > 1 else writes[0]
        tables = torch.cat([layer.distance_bias.table() for layer in elmur.layers])
        initial = torch.stack([layer.initial_memory for layer in elmur.layers])  # (n, M, d)
        projected = fast.project_slots(initial.flatten(0, 1), write)
        return cls(
            layers,
            write,
            [elmur.positions.for_ring(weights.attend.position) for weights in layers],
            tables,
            np.arange(n_layers) * (len(tables) // n_layers),
            initial[:, None],
            projected.unflatten(0, initial.shape[:2])[:, None],
        )


class Ring(NamedTuple):
    """The last tokens of each row; where each lies depends on the runner's step alone.

    Making views anew in each step would cost as much as writing; so those of places are kept.

    Attributes:
        tokens: The last L that the model got, (B, L, d).
        context: What the tokens of each layer attend to, (n, B, K = W - 1 + L, d).
        to_write: What each layer's memory gets of the last L, (n, B, L, d).
        context_at: Views of `context` by layer and place, (B, d) each.
        to_write_at: The same of `to_write`.
    """

    tokens: Tensor
    context: Tensor
    to_write: Tensor
    context_at: list[tuple[Tensor, ...]]
    to_write_at: list[tuple[Tensor, ...]]

    @classmethod
    def of(cls, state: State) -> "Ring":
        """A ring whose next token goes to place 0, without what layers make of the open tokens."""
        (n_rows, length, d), (n_layers, n_before) = state.segment.shape, state.context.shape[1:3]
        row = torch.arange(n_rows, device=state.clock.device)[:, None]
        phase = (state.clock % length)[:, None]
        age = -torch.arange(length, device=row.device) % length
        tokens = state.segment[row, phase - age]
        context = tokens.new_zeros(n_layers, n_rows, n_before + length, d)
        before = torch.arange(-n_before, 0, device=row.device) - phase  # (B, W - 1)
        context[:, row, before % (n_before + length)] = state.context.transpose(0, 1)
        return cls._with_views(tokens, context, tokens.new_zeros(n_layers, *tokens.shape))

    @classmethod
    def _with_views(cls, tokens: Tensor, context: Tensor, to_write: Tensor) -> "Ring":
        views = ([layer.unbind(1) for layer in part] for part in (context, to_write))
        return cls(tokens, context, to_write, *views)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled: views would come back as tensors of their own."""
        return Ring._with_views, (self.tokens, self.context, self.to_write)

    def to(self, dtype: torch.dtype) -> "Ring":
        """The same in another precision."""
        parts = self.tokens, self.context, self.to_write
        return self._with_views(*(part.to(dtype) for part in parts))

    def of_rows(self, rows: Tensor) -> "Ring":
        """A copy of some rows."""
        of_layers = (part.index_select(1, rows) for part in (self.context, self.to_write))
        return self._with_views(self.tokens.index_select(0, rows), *of_layers)

    def put(self, rows: Tensor, other: "Ring", ahead: int) -> None:
        """Copies the rows of a ring whose next place is so many steps ahead over some of these."""
        self.tokens.index_copy_(0, rows, other.tokens.roll(-ahead, 1))
        self.context.index_copy_(1, rows, other.context.roll(-ahead, 2))
        self.to_write.index_copy_(1, rows, other.to_write.roll(-ahead, 2))


class SlotCache(NamedTuple):
    """The slots of all layers and rows, with the keys and values that tokens read of them.

    Attributes:
        contents: (n B M, d).
        projected: What `project_slots` makes of them, (n B M, H, 2 d).
        contents_of: A view by layer and row, (n, B, M, d).
        projected_of: The same of `projected`, (n, B, M, H, 2 d).
        read: Views by layer, as `read` takes them.
    """

    contents: Tensor
    projected: Tensor
    contents_of: Tensor
    projected_of: Tensor
    read: list[fast.Slots]

    @classmethod
    def of(cls, contents: Tensor, w: StepWeights) -> "SlotCache":
        """The cache of (n, B, M, d) contents."""
        projected = fast.project_slots(contents.flatten(0, 2), w.write)
        return cls._with_views(contents, projected.unflatten(0, contents.shape[:3]))

    @classmethod
    def _with_views(cls, contents: Tensor, projected: Tensor) -> "SlotCache":
        """The cache of contents (n, B, M, d), contiguous, and their keys and values."""
        flat = contents.flatten(0, 2), projected.flatten(0, 2)
        return cls(*flat, contents, projected, [fast.Slots.of(layer) for layer in projected])

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled, as of a ring."""
        return SlotCache._with_views, (self.contents_of, self.projected_of)

    def of_rows(self, rows: Tensor) -> "SlotCache":
        """A copy of some rows."""
        copies = (part.index_select(1, rows) for part in (self.contents_of, self.projected_of))
        return self._with_views(*copies)

    def put(self, rows: Tensor, other: "SlotCache") -> None:
        """Copies the rows of another cache over some of these."""
        self.contents_of.index_copy_(1, rows, other.contents_of)
        self.projected_of.index_copy_(1, rows, other.projected_of)
