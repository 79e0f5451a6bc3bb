"""A proof as data: what each state of a closed set answers, and where it leads."""

import copy
import hashlib
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_elmur.envs.finite import FiniteTask
from rllib_elmur.errors import UserError
from rllib_elmur.model.encoder import CategoryEncoder, VectorEncoder
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof.automaton import PolicyAutomaton, chunks, ends_of, inputs_of, trees_of
from rllib_elmur.proof.certificate import Certificate

_OPTIONS = (
    *("n_layers", "n_heads", "segment_length"),
    *("memory_slots", "memory_levels", "lru_blend", "write_before_read"),
)


class Proof:
    """The states that all episodes lead to, gone through once more.

    Attributes:
        task: What is proven.
        states: The S states.
        trees: For each situation, what a segment can show (`SegmentTree`).
        answers: For each state, the greedy action at each node of its tree.
        transitions: Rows (state, leaf, next state), (T, 3) int64, sorted; several of a leaf where a
            value is near a boundary of the rounding.

    Args:
        network: The policy.
        certificate: Its certificate, whose verdict is "proven".
    """

    def __init__(self, network: PolicyNetwork, certificate: Certificate):
        assert certificate.closed is not None, "only what is proven has a proof"
        self._network = copy.deepcopy(network).cpu()
        self.task, self.states = certificate.task, certificate.closed
        self.trees = trees_of(self.task, network.elmur.config.segment_length)
        self.answers: list[NDArray[np.int8]] = [np.empty(0, np.int8)] * len(self.states.situation)
        self.transitions = self._follow()

    def _follow(self) -> NDArray[np.int64]:
        situation, written, memory = self.states
        keys = zip(situation.tolist(), written.tolist(), map(bytes, memory), strict=True)
        number = {key: state for state, key in enumerate(keys)}
        automaton = PolicyAutomaton(self._network, inputs_of(self.task))
        rows: list[tuple[int, int, int]] = []
        for depth in np.unique(written):
            those = np.flatnonzero(written == depth)
            after = min(int(depth) + 1, memory.shape[2])
            for states, tree in chunks(those, situation[those], self.trees):
                content = torch.from_numpy(memory[states]).float()
                logits, updates = automaton.run(tree, content, int(depth))
                answers = ends_of(logits)[0].argmax(-1).numpy().astype(np.int8)
                low, high = automaton.sides(updates)
                target = self.task.target[tree.symbol[tree.leaves]].tolist()
                for row, state in enumerate(states.tolist()):
                    self.answers[state] = answers[row]
                    kept = memory[state, :, 1:]
                    for leaf, situation_after in enumerate(target):
                        for slot in automaton.both_ways(low[row, leaf], high[row, leaf]):
                            content_after = np.concatenate([kept, slot[:, None]], axis=1)
                            key = situation_after, after, content_after.tobytes()
                            rows.append((state, leaf, number[key]))
        return np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)

    @cached_property
    def weights(self) -> dict[str, NDArray]:
        """What `weights_of` says of the policy."""
        return weights_of(self._network)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            array = self.weights[name]
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Writes what `check.py` verifies (.npz).

        Raises:
            UserError: If observations are neither vectors nor categories, or have a spread.
        """
        require_points(self.task, path)
        options = {name: getattr(self._network.elmur.config, name) for name in _OPTIONS}
        encoder, seen = self._network.encoder, self.task.observation
        match encoder:
            case VectorEncoder():
                seen = seen.reshape(len(seen), -1).astype(np.float64)
            case CategoryEncoder():
                seen = seen.reshape(len(seen), -1).astype(np.int64) + encoder.offset.numpy()
            case _:
                raise UserError(
                    f"--out {path}: a proof can be written of observations that are vectors or "
                    f"categories, and not of those that {type(encoder).__name__} reads."
                )
        task = {name: getattr(self.task, name) for name in ("start", "source", "correct", "target")}
        np.savez_compressed(
            path,
            **task,
            observation=seen,
            state=np.stack(self.states[:2], axis=1),
            memory=self.states.memory,
            answers=np.concatenate(self.answers),
            transitions=self.transitions.astype(np.int32),
            options=json.dumps(options),
            digest=self.digest,
            **{f"weight/{name}": array for name, array in self.weights.items()},
        )


def weights_of(network: PolicyNetwork) -> dict[str, NDArray]:
    """A policy's parameters as `model/equations.py` names them; of distances the table E itself.

    E is computed in double precision, so that all machines give it the same digest.
    """
    state = network.state_dict()
    weights = {name: state[name].numpy() for name in state if ".distance_bias." not in name}
    for i, layer in enumerate(network.elmur.layers):
        table = copy.deepcopy(layer.distance_bias).double().table()
        weights[f"elmur.layers.{i}.distance_bias.table"] = table.detach().float().numpy()
    return weights


def require_points(task: FiniteTask, path: Path) -> None:
    """Raises a UserError if a proof of a task cannot be written, for its noise is no points."""
    if task.spread is not None:
        raise UserError(
            f"--out {path}: a proof under noise cannot be written: the checker computes with "
            "points, and not with bounds."
        )
