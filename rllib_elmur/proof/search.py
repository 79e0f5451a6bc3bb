"""Finds every memory that an episode can lead to, and checks the policy's actions in each.

With a rounded memory a policy is a finite automaton (`proof.automaton`), and so is a task
(`envs.finite`). The search goes breadth first over their product, a segment at a time, so that the
first wrong answer it meets ends a shortest episode. If the set closes without one, the policy
answers correctly in every episode, however long.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_elmur.envs.finite import FiniteTask
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof.automaton import (
    PolicyAutomaton,
    SegmentTree,
    both_ways,
    chunks,
    trees_of,
)
from rllib_elmur.proof.certificate import Certificate, ClosedSet

SMALLEST_GAP = 1e-4
"""An action counts as correct only if its logit exceeds those of all wrong ones by this much."""

_MOST_UNCERTAIN = 12  # values of one write near a boundary; they lead to 2**12 memories


def check_all_episodes(
    network: PolicyNetwork,
    task: FiniteTask,
    max_states: int,
    on_progress: Callable[[Certificate], Any] | None = None,
) -> Certificate:
    """Decides whether a policy acts correctly in every episode of a task.

    Args:
        network: The policy. Its memory is rounded (`memory_levels`).
        task: The task; its observations are the network's, its actions those of the logits.
        max_states: With more states than this the search ends undecided.
        on_progress: Called now and then with what is known so far.
    """
    begin = time.perf_counter()
    # On the processor, wherever it was trained: bytes go to and fro.
    search = _Search(copy.deepcopy(network).cpu(), task, max_states)
    for certificate in search.run():
        certificate.seconds = time.perf_counter() - begin
        if on_progress is not None:
            on_progress(certificate)
    return search.certificate


class _Found(NamedTuple):
    """A state of the search, and the segment by which it was first reached."""

    situation: int
    written: int
    memory: bytes
    parent: int
    leaf: int


class _Search:
    def __init__(self, network: PolicyNetwork, task: FiniteTask, max_states: int):
        c = network.elmur.config
        self.certificate = Certificate()
        self._task, self._max_states = task, max_states
        self._shape = c.n_layers, c.memory_slots, c.d_model
        self._automaton = PolicyAutomaton(network, torch.as_tensor(task.observation))
        self._trees = trees_of(task, c.segment_length)
        self._found: list[_Found] = []
        self._known: set[tuple[int, int, bytes]] = set()
        self._too_many = False

    def run(self) -> Iterator[Certificate]:
        """Runs level by level, that is segment by segment from the episode's start."""
        blank = bytes(int(np.prod(self._shape)))
        for situation in self._task.start:
            self._add(_Found(int(situation), 0, blank, -1, -1))
        level, written, slots = range(len(self._found)), 0, self._shape[1]
        while level:
            wrong: list[tuple[int, int, int]] = []  # depth, state, node
            situations = np.array([self._found[state].situation for state in level])
            for states, tree in chunks(np.array(level), situations, self._trees):
                if len(self._found) > self._max_states:
                    break
                wrong += self._run_chunk(states, tree, written, grow=not wrong)
                self.certificate.states = len(self._found)
                yield self.certificate
            if wrong:
                self._refute(*min(wrong)[1:])
                break
            if self._too_many or len(self._found) > self._max_states:
                break
            level, written = range(level.stop, len(self._found)), min(written + 1, slots)
        else:
            self.certificate.verdict = "proven"
            self.certificate.closed = self._closed()
        yield self.certificate

    def _closed(self) -> ClosedSet:
        memory = np.frombuffer(b"".join(state.memory for state in self._found), dtype=np.int8)
        situation, written = np.array([state[:2] for state in self._found]).T
        return ClosedSet(situation, written, memory.reshape(-1, *self._shape))

    def _run_chunk(
        self, states: NDArray[np.int64], tree: SegmentTree, written: int, grow: bool
    ) -> list[tuple[int, int, int]]:
        """Runs a segment from each state; returns an earliest wrong answer, if there is any."""
        content = b"".join(self._found[state].memory for state in states)
        memory = np.frombuffer(content, dtype=np.int8).reshape(-1, *self._shape)
        logits, updates = self._automaton.run(tree, torch.tensor(memory).float(), written)
        lead = self._lead(logits, tree)
        self.certificate.answers += lead.numel()
        self.certificate.gap = min(self.certificate.gap, float(lead.min()))
        chance = self._chance(logits, tree)
        self.certificate.chance = max(self.certificate.chance, chance)
        wrong = (lead < SMALLEST_GAP).nonzero().numpy()
        if len(wrong):
            depth = tree.depth[wrong[:, 1]]
            earliest = wrong[depth == depth.min()]
            # The clearest one: what is a matter of rounding may be right when it is played.
            row, node = earliest[lead.numpy()[tuple(earliest.T)].argmin()]
            return [(int(depth.min()), int(states[row]), int(node))]
        if grow and len(tree.leaves):
            self._add_successors(states, memory, updates, tree, written)
        return []

    def _lead(self, logits: Tensor, tree: SegmentTree) -> Tensor:
        """Logit of the best correct action minus that of the best wrong one, (S, N)."""
        correct = torch.from_numpy(self._task.correct[tree.symbol])
        best = logits.masked_fill(~correct, -torch.inf).amax(-1)
        return best - logits.masked_fill(correct, -torch.inf).amax(-1)

    def _chance(self, logits: Tensor, tree: SegmentTree) -> float:
        """The largest probability of a wrong action; a logit may be off by `SMALLEST_GAP`."""
        correct = torch.from_numpy(self._task.correct[tree.symbol])
        wrong = logits.double().softmax(-1).masked_fill(correct, 0.0).sum(-1).max()
        return min(float(wrong) * math.exp(2 * SMALLEST_GAP), 1.0)

    def _add_successors(
        self,
        states: NDArray[np.int64],
        memory: NDArray[np.int8],
        updates: Tensor,
        tree: SegmentTree,
        written: int,
    ) -> None:
        low, high = self._automaton.sides(updates)
        n_states, n_leaves = low.shape[:2]
        self.certificate.transitions += n_states * n_leaves
        target = self._task.target[tree.symbol[tree.leaves]]
        written = min(written + 1, self._shape[1])
        for row, leaf in _distinct(low, high, target):
            if (low[row, leaf] != high[row, leaf]).sum() > _MOST_UNCERTAIN:
                self._too_many = True
                continue
            for slot in both_ways(low[row, leaf], high[row, leaf]):
                # The oldest slot is gone, the written one is the newest: (n, M, d).
                content = np.concatenate([memory[row, :, 1:], slot[:, None]], axis=1)
                parent, node = int(states[row]), int(tree.leaves[leaf])
                at = int(target[leaf]), written, content.tobytes()
                self._add(_Found(*at, parent, node))

    def _add(self, state: _Found) -> None:
        key = state[:3]
        if key not in self._known:
            self._known.add(key)
            self._found.append(state)

    def _refute(self, state: int, node: int) -> None:
        """Follows the segments back to the episode's start."""
        symbols: list[int] = []
        while state >= 0:
            at = self._found[state]
            tree = self._trees[at.situation]
            path = tree.path[node][: tree.depth[node] + 1]
            symbols = [*tree.symbol[path], *symbols]
            state, node = at.parent, at.leaf
        self.certificate.verdict = "refuted"
        self.certificate.counterexample = np.asarray(symbols)


def _distinct(
    low: NDArray[np.int8], high: NDArray[np.int8], target: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Yields row and leaf of each distinct successor, out of (S, F, n, d) and (F,).

    Most segments of a state lead to few others; a loop over all of them would be slow.
    """
    n_states, n_leaves = low.shape[:2]
    keys = np.concatenate(
        [
            low.reshape(n_states, n_leaves, -1),
            high.reshape(n_states, n_leaves, -1),
            _as_bytes(np.arange(n_states)[:, None].repeat(n_leaves, axis=1)),
            _as_bytes(target[None].repeat(n_states, axis=0)),
        ],
        axis=-1,
    )
    flat = keys.reshape(n_states * n_leaves, -1).view(f"V{keys.shape[-1]}").ravel()
    for index in np.unique(flat, return_index=True)[1]:
        yield divmod(int(index), n_leaves)


def _as_bytes(integers: NDArray[np.int64]) -> NDArray[np.int8]:
    return np.ascontiguousarray(integers)[..., None].view(np.int8)
