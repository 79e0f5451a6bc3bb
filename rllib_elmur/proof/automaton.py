"""A policy with rounded memory as a finite automaton: all continuations of a segment at once.

Between two segments such a policy is nothing but the content of its slots: they are written in a
ring, so in LRU order (oldest first) their anchors follow from how many were ever written. What one
segment does to it is decided for every sequence of observations by running the tree of their
prefixes, each prefix once, through the `attend`, `read` and `write` of both schedules.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.model.fast import layer as fast
from rllib_elmur.model.fast.ops import norm
from rllib_elmur.model.fast.weights import AttendWeights
from rllib_elmur.model.memory import Rounding
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof.interval import Interval

Values = Tensor | Interval

_BOUNDARY = 1e-5  # a value closer than this to a boundary of the rounding goes both ways
_TOKENS_AT_ONCE = 20_000  # small enough for a processor's cache


class SegmentTree(NamedTuple):
    """All sequences of at most L inputs that can follow each other in one segment, as a tree.

    Attributes:
        symbol: Which input each of the N nodes reads, (N,).
        depth: How many inputs of the segment came before it, (N,).
        path: The nodes from the segment's first input to this one, (N, L); its own from there on.
        leaves: Nodes that complete the segment and have a continuation, (F,).
    """

    symbol: NDArray[np.int64]
    depth: NDArray[np.int64]
    path: NDArray[np.int64]
    leaves: NDArray[np.int64]

    @classmethod
    def grow(
        cls, first: Sequence[int], following: Sequence[Sequence[int]], segment_length: int
    ) -> "SegmentTree":
        """Grows the tree.

        Args:
            first: Inputs that may begin the segment.
            following: For each input, those that may come next; none after an episode's end.
            segment_length: L.
        """
        count = np.array([len(after) for after in following])
        begin = count.cumsum() - count
        flat = np.array([s for after in following for s in after], dtype=np.int64)
        symbol = np.asarray(first, dtype=np.int64)
        above = np.empty((len(symbol), 0), dtype=np.int64)  # nodes on the way, (level, depth)
        symbols, depths, paths, size = [], [], [], 0
        for depth in range(segment_length):
            own = size + np.arange(len(symbol))[:, None]
            size += len(symbol)
            above = np.concatenate([above, own], axis=1)
            symbols.append(symbol)
            depths.append(np.full_like(symbol, depth))
            paths.append(np.pad(above, ((0, 0), (0, segment_length - depth - 1)), mode="edge"))
            leaves = own[count[symbol] > 0, 0]
            parent = np.repeat(np.arange(len(symbol)), count[symbol])
            nth = np.arange(len(parent)) - np.repeat(
                count[symbol].cumsum() - count[symbol], count[symbol]
            )
            above, symbol = above[parent], flat[begin[symbol[parent]] + nth]
        return cls(*map(np.concatenate, (symbols, depths, paths)), leaves)


def trees_of(task: FiniteTask, segment_length: int) -> list[SegmentTree]:
    """For each situation of a task, all that a segment can show that begins there."""
    edges = [np.flatnonzero(task.source == s).tolist() for s in range(task.source.max() + 1)]
    following = [[] if target == END else edges[target] for target in task.target]
    return [SegmentTree.grow(first, following, segment_length) for first in edges]


def chunks(
    states: NDArray[np.int64], situation: NDArray[np.int64], trees: Sequence[SegmentTree]
) -> Iterator[tuple[NDArray[np.int64], SegmentTree]]:
    """Splits states into chunks that share a situation; `situation` is that of each."""
    for each in np.unique(situation):
        tree, those = trees[each], states[situation == each]
        tokens = max(len(tree.symbol), tree.path.shape[1] * len(tree.leaves))
        size = max(_TOKENS_AT_ONCE // tokens, 1)
        for first in range(0, len(those), size):
            yield those[first : first + size], tree


class PolicyAutomaton:
    """What a policy does in one segment, for many memories and all inputs.

    Memories are (S, n, M, d), slots in LRU order; the first M - `written` of them are empty.

    Where a task's observations are known but for a spread, all values are intervals.

    Args:
        network: The policy; its memory is rounded.
        observations: The inputs, as a batch (E, *space); see `inputs_of`.
    """

    def __init__(self, network: PolicyNetwork, observations: Tensor | Interval):
        if isinstance(observations, Interval):
            network = copy.deepcopy(network).double()
        self.network, self.elmur = network, network.elmur
        self._precision = network.pi.weight.dtype
        self._spacing = cast("Rounding", self.elmur.layers[0].rounding).spacing
        with torch.no_grad():
            self._tokens = network.encoder(observations[:, None])[:, 0]  # (E, d)

    def initial_memory(self, written: int) -> Tensor:
        """What is read of each slot as long as it is empty, (n, M, d), in LRU order."""
        slots = torch.stack([layer.initial_memory for layer in self.elmur.layers])
        return slots.roll(-written, dims=1)

    @torch.no_grad()
    def run(self, tree: SegmentTree, memory: Tensor, written: int) -> tuple[Values, Values]:
        """Runs every node of the tree on every memory.

        Returns:
            Action logits (S, N, A), and for each leaf what its segment writes in place of the
            oldest slot of each layer, not yet rounded, (S, F, n, d).
        """
        n_slots, length = memory.shape[2], tree.path.shape[1]
        memory = memory.to(self._precision)
        depth, path = (torch.from_numpy(a) for a in (tree.depth, tree.path))
        at_leaves = path[torch.from_numpy(tree.leaves)]  # (F, L)
        # Ages count writes; the last one's anchor lies one step before the segment.
        age = torch.arange(n_slots - 1, -1, -1)
        empty = age >= written
        distance = 1 + age[:, None] * length  # to the segment's first token, (M, 1)
        memory = torch.where(empty[:, None], self.initial_memory(written), memory)
        y, updates = self._tokens[torch.from_numpy(tree.symbol)][None], []  # (1, N, d)
        y = cast("Any", self.elmur.mark(y, depth + length * written))
        if isinstance(y, Interval):
            y = y.by_place(depth, length)  # each input has its own noise
        for i, (layer, w) in enumerate(
            zip(self.elmur.layers, self.elmur.absorbed.layers(), strict=True)
        ):
            h = self._attend(y, path, depth, w.attend).expand(len(memory), -1, -1)  # (S, N, d)
            read_bias = layer.distance_bias(distance + depth, empty[:, None]).mT  # (M, H, N)
            slots = fast.Slots.of(fast.project_slots(memory[:, i], w.write))
            read_bias = read_bias.expand(len(h), -1, -1, -1)
            y = fast.read(h.flatten(0, 1), slots, read_bias, w.read).view(h.shape)
            if len(at_leaves):
                tokens = h if layer.write_before_read else y
                segments = tokens[:, at_leaves].flatten(0, 1)  # (S F, L, d)
                oldest = memory[:, i, 0].repeat_interleave(len(at_leaves), dim=0)
                position = torch.arange(length)
                write_bias = layer.distance_bias(-(distance[0] + position), empty[0])  # (L, H)
                write_bias = write_bias.expand(len(segments), -1, -1)
                share = fast.blend_share(empty[:1], layer.lru_blend, y).expand(len(segments), 1)
                update = fast.write(segments, oldest, share, write_bias, w.write)
                updates.append(update.view(len(memory), len(at_leaves), -1))
            else:  # every episode ends within the segment
                updates.append(memory.new_empty(len(memory), 0, memory.shape[-1]))
        logits = self.network.pi(self.elmur.final_norm(y))
        return logits, torch.stack(updates, dim=2)

    def _attend(self, x: Tensor, path: Tensor, depth: Tensor, w: AttendWeights) -> Tensor:
        """Each node attends to the nodes above it, x (B, N, d)."""
        tokens = norm(x, w.residual.before)
        position = self.elmur.positions.of_nodes(tokens, depth, w.position)  # (B N, L, H)
        context = tokens[:, path].flatten(0, 1)  # (B N, L, d)
        mixed = fast.mix_context(tokens.flatten(0, 1), context, position, w)
        return fast.attend(x.flatten(0, 1), mixed, w).view(x.shape)

    def sides(self, update: Values) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """An update rounded, if it were a little smaller and if it were a little larger."""
        rounding = self.elmur.layers[0].rounding
        low, high = ends_of(update)
        # What is no number may be any.
        low = rounding((low - _BOUNDARY).nan_to_num(nan=-torch.inf, neginf=-torch.inf))
        high = rounding((high + _BOUNDARY).nan_to_num(nan=torch.inf, posinf=torch.inf))
        return low.to(torch.int8).numpy(), high.to(torch.int8).numpy()

    def both_ways(
        self, low: NDArray[np.int8], high: NDArray[np.int8]
    ) -> Iterator[NDArray[np.int8]]:
        """Yields all contents (n, d) whose values lie between a lower and a higher one."""
        uncertain = low != high  # a few, if any
        ends = zip(low[uncertain].tolist(), high[uncertain].tolist(), strict=True)
        for values in product(*(range(a, b + 1, self._spacing) for a, b in ends)):
            content = low.copy()
            content[uncertain] = values
            yield content

    def n_between(self, low: NDArray[np.int8], high: NDArray[np.int8]) -> float:
        """How many contents `both_ways` yields."""
        return float(((high - low.astype(np.float64)) / self._spacing + 1).prod())


def inputs_of(task: FiniteTask) -> Values:
    """The observations of a task's edges, (E, *space); intervals if they have a spread."""
    observations = torch.as_tensor(task.observation)
    if task.spread is None:
        return observations
    return Interval.around(observations.double(), torch.as_tensor(task.spread))


def ends_of(values: Values) -> tuple[Tensor, Tensor]:
    """The least and the largest values; of points they are the same."""
    return (values.low, values.high) if isinstance(values, Interval) else (values, values)
