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
    Values,
    chunks,
    ends_of,
    inputs_of,
    trees_of,
)
from rllib_elmur.proof.certificate import Certificate, ClosedSet
from rllib_elmur.proof.pieces import in_pieces

SMALLEST_GAP = 1e-4
"""An action counts as correct only if its logit exceeds those of all wrong ones by this much."""

_MOST_CONTENTS = 2**12  # that one write may lead to, its values being near boundaries
_MOST_CONTENTS_UNDER_NOISE = 2**4  # the same under noise, where smaller pieces lead to fewer
_MOST_NODES = 100_000  # of all trees together, into which noise is cut


def check_all_episodes(
    network: PolicyNetwork,
    task: FiniteTask,
    max_states: int,
    on_progress: Callable[[Certificate], Any] | None = None,
) -> Certificate:
    """Decides whether a policy acts correctly in every episode of a task.

    Where observations have a spread, it is cut into ever smaller pieces until it is decided, or
    there are too many.

    Args:
        network: The policy. Its memory is rounded (`memory_levels`).
        task: The task; its observations are the network's, its actions those of the logits.
        max_states: With more states than this the search ends undecided.
        on_progress: Called now and then with what is known so far.
    """
    begin = time.perf_counter()
    # On the processor, wherever it was trained: bytes go to and fro.
    network, pieces = copy.deepcopy(network).cpu(), 1
    if task.spread is not None and not np.any(task.spread):
        task = task._replace(spread=None)
    while True:
        search = _Search(network, in_pieces(task, pieces), max_states)
        for certificate in search.run():
            certificate.seconds = time.perf_counter() - begin
            if on_progress is not None:
                on_progress(certificate)
        if task.spread is None:
            return search.certificate
        search.certificate.pieces, pieces = pieces, 2 * pieces
        n_noises = network.elmur.config.segment_length * np.count_nonzero(task.spread)
        finer = search.n_nodes * 2**n_noises
        if search.certificate.verdict != "undecided" or finer > _MOST_NODES:
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
        self.certificate = Certificate(task=task)
        self._network, self._task, self._max_states = network, task, max_states
        self._shape = c.n_layers, c.memory_slots, c.d_model
        self._automaton = PolicyAutomaton(network, inputs_of(task))
        self._trees = trees_of(task, c.segment_length)
        self.n_nodes = sum(len(tree.symbol) for tree in self._trees)
        self._most_contents = _MOST_CONTENTS if task.spread is None else _MOST_CONTENTS_UNDER_NOISE
        self._found: list[_Found] = []
        self._known: set[tuple[int, int, bytes]] = set()
        self._correct = torch.from_numpy(task.correct)
        self._open = False  # whether something could not be decided

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
            if self._open or len(self._found) > self._max_states:
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
        logits, updates = self._automaton.run(tree, torch.tensor(memory), written)
        correct, (low, high) = self._correct[tree.symbol], ends_of(logits)
        worst = torch.where(correct, low, high)
        self.certificate.answers += len(states) * len(tree.symbol)
        lead = _lead(worst, correct)
        self.certificate.gap = min(self.certificate.gap, float(lead.min()))
        self.certificate.chance = max(self.certificate.chance, _chance(worst, correct))
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

    def _add_successors(
        self,
        states: NDArray[np.int64],
        memory: NDArray[np.int8],
        updates: Values,
        tree: SegmentTree,
        written: int,
    ) -> None:
        low, high = self._automaton.sides(updates)
        n_states, n_leaves = low.shape[:2]
        self.certificate.transitions += n_states * n_leaves
        target = self._task.target[tree.symbol[tree.leaves]]
        written = min(written + 1, self._shape[1])
        for row, leaf in _distinct(low, high, target):
            if self._automaton.n_between(low[row, leaf], high[row, leaf]) > self._most_contents:
                self._open = True
                continue
            for slot in self._automaton.both_ways(low[row, leaf], high[row, leaf]):
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
        if self._is_wrong(symbols):
            self.certificate.verdict = "refuted"
            self.certificate.counterexample = np.asarray(symbols)

    def _is_wrong(self, edges: list[int]) -> bool:
        """Whether an episode shows it; bounds may be too wide, and then it is not known."""
        if self._task.spread is None:
            return True
        observations = torch.as_tensor(self._task.observation[edges], dtype=torch.float32)
        with torch.no_grad():
            features, _ = self._network(observations[None], self._network.elmur.initial_state())
            actions = self._network.pi(features)[0].argmax(-1).numpy()
        right = self._task.correct[edges, actions]
        return bool(right[:-1].all() and not right[-1])


def _lead(logits: Tensor, correct: Tensor) -> Tensor:
    """Logit of the best correct action minus that of the best wrong one, (S, N)."""
    best = logits.masked_fill(~correct, -torch.inf).amax(-1)
    lead = best - logits.masked_fill(correct, -torch.inf).amax(-1)
    return lead.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)  # never right


def _chance(logits: Tensor, correct: Tensor) -> float:
    """The largest probability of a wrong action; a logit may be off by `SMALLEST_GAP`."""
    wrong = logits.double().softmax(-1).masked_fill(correct, 0.0).sum(-1).max()
    return min(float(wrong.nan_to_num(nan=1.0)) * math.exp(2 * SMALLEST_GAP), 1.0)


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
