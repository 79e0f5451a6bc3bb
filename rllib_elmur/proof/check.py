"""Checks a proof with NumPy alone, without this package and PyTorch: `python check.py proof.npz`.

The file holds the task, the weights, and all states that an episode can lead to: a situation and
the slots, oldest first, the last `written` not empty. They are a proof if the start is one of them,
and if each answers right and leads to some of them, by docs/model.md's equations in float64.
"""

import hashlib
import itertools
import json
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np

GAP, BOUNDARY = 5e-5, 5e-6  # margins for errors of floating point: half of those of the search


class _Policy:
    def __init__(self, weights, options):
        self.w = {name: array.astype(np.float64) for name, array in weights.items()}
        self.o = SimpleNamespace(**options)

    def _linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0.0)

    def _norm(self, x, name):
        if f"{name}.weight" not in self.w:
            return x
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def _residual(self, x, name, block, *more):
        return self._norm(x + block(self._norm(x, f"{name}.before"), *more), f"{name}.after")

    def _perceptron(self, x, name, first="0", second="2"):
        return self._linear(np.maximum(self._linear(x, f"{name}.{first}"), 0), f"{name}.{second}")

    def _heads(self, x, parts):
        return [np.stack(np.split(y, self.o.n_heads, -1), -2) for y in np.split(x, parts, -1)]

    def _mix(self, logits, values, name):  # (Q, K, H) and (..., K, H, d/H)
        e = np.exp(logits - logits.max(1, keepdims=True))
        mixed = ((e / e.sum(1, keepdims=True))[..., None] * values).sum(1)
        return self._linear(mixed.reshape(len(mixed), np.prod(mixed.shape[1:])), f"{name}.out")

    def _attend(self, x, name, depth, path):
        q, k, v = self._heads(self._linear(x, f"{name}.qkv"), 3)  # (N, H, d/H)
        distance = depth[:, None] - np.arange(self.o.segment_length)  # (N, L)
        r = self.w[f"{name}.distance_keys"].swapaxes(0, 1)[distance.clip(0)]  # (N, L, H, d/H)
        u, place = (self.w[f"{name}.{part}_bias"][:, 0] for part in ("content", "position"))
        logits = ((q + u)[:, None] * k[path] + (q + place)[:, None] * r).sum(-1)
        logits = np.where(distance[..., None] < 0, -np.inf, logits / q.shape[-1] ** 0.5)
        return self._mix(logits, v[path], name)

    def _cross(self, x, name, y, bias):  # queries x (Q, d) of y (K, d) or (Q, K, d)
        (q,) = self._heads(self._linear(x, f"{name}.query"), 1)
        k, v = self._heads(self._linear(y, f"{name}.key_value"), 2)
        return self._mix((q[:, None] * k).sum(-1) / q.shape[-1] ** 0.5 + bias, v, name)

    def _bias(self, name, distance, empty):  # the table E
        reach = self.o.memory_slots * self.o.segment_length
        row = np.where(empty, 2 * reach + 1, np.clip(distance, -reach, reach) + reach)
        return self.w[f"{name}.distance_bias.table"][row]

    def _run(self, seen, symbol, depth, path, leaves, memory, written):  # -> logits (N, A), writes
        if "encoder.embedding.weight" in self.w:  # categories
            x = self.w["encoder.embedding.weight"][seen].sum(-2)
        else:
            x = self._perceptron(seen, "encoder", "hidden", "projection")
        x = x[symbol] + self.w.get("elmur.start", 0.0) * (depth + written == 0)[:, None]
        age, updates = np.arange(self.o.memory_slots)[::-1], []
        empty, distance = age >= written, 1 + age * self.o.segment_length
        before = -distance[0] - np.arange(self.o.segment_length)
        for i, m in enumerate(memory):
            p, e = f"elmur.layers.{i}", partial(self._bias, f"elmur.layers.{i}")
            m = np.where(empty[:, None], np.roll(self.w[f"{p}.initial_memory"], -written, 0), m)
            args = f"{p}.self_attention", depth, path
            x = h = self._residual(x, f"{p}.attend_residual", self._attend, *args)  # (1)
            args = f"{p}.mem2tok", m, e(distance + depth[:, None], empty)
            x = self._residual(x, f"{p}.read_residual", self._cross, *args)  # (2)
            x = self._residual(x, f"{p}.ffn_residual", self._perceptron, f"{p}.ffn")  # (3)
            tokens = (h if self.o.write_before_read else x)[path[leaves]]
            args = f"{p}.tok2mem", tokens, e(before, empty[0])
            u = self._residual(m[:1], f"{p}.write_residual", self._cross, *args)  # (4), (5)
            args = self._perceptron, f"{p}.memory_ffn"
            u = self._norm(self._residual(u, f"{p}.memory_ffn_residual", *args), f"{p}.memory_norm")
            updates.append(m[0] + (1.0 if empty[0] else self.o.lru_blend) * (u - m[0]))  # (6)
        return self._linear(self._norm(x, "elmur.final_norm"), "pi"), np.stack(updates, axis=1)

    def _round(self, x):  # (7): to integers around 0, or to odd ones
        high, even = (self.o.memory_levels - 1) / 2, self.o.memory_levels % 2 == 0
        x = np.clip(x / (1 + even), -high, high)
        return np.floor(x) * 2 + 1 if even else np.rint(x)


def _grow(first, following, length):
    nodes: list = [(edge, 0, (place,)) for place, edge in enumerate(first)]
    for edge, depth, way in nodes:
        for after in following[edge] if depth + 1 < length else ():
            nodes.append((after, depth + 1, (*way, len(nodes))))
    symbol, depth, path = zip(*nodes, strict=True)
    path = np.array([way + way[-1:] * (length - len(way)) for way in path])
    leaves = [i for i, (edge, at, _) in enumerate(nodes) if at == length - 1 and following[edge]]
    return np.array(symbol), np.array(depth), path, np.array(leaves, dtype=int)


def _require(holds, otherwise):
    if not holds:
        raise ValueError(f"not proven: {otherwise}")


def verify(file):
    """Returns the digest of the weights that are proven; raises a ValueError if they are not."""
    given = dict(np.load(file))
    weights = {k.removeprefix("weight/"): a for k, a in given.items() if k.startswith("weight/")}
    parts = (f"{k}{weights[k].shape}".encode() + weights[k].tobytes() for k in sorted(weights))
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    _require(digest == str(given["digest"]), "the weights have another digest")
    policy = _Policy(weights, json.loads(str(given["options"])))
    source, target, where, memory = (given[k] for k in ("source", "target", "state", "memory"))
    edges = [np.flatnonzero(source == s).tolist() for s in range(max(source) + 1)]
    following = [[] if after < 0 else edges[after] for after in target]
    trees = [_grow(first, following, policy.o.segment_length) for first in edges]
    states = [(*at, bytes(m)) for at, m in zip(where.tolist(), memory, strict=True)]
    number = {state: i for i, state in enumerate(states)}
    for start in given["start"].tolist():
        _require((start, 0, bytes(memory[0].size)) in number, "a start is not listed")
    answers = np.split(given["answers"], np.cumsum([len(trees[s][0]) for s, _ in where])[:-1])
    listed = set(map(tuple, given["transitions"].tolist()))
    for i, (s, written, _) in enumerate(states):
        symbol, leaves = trees[s][0], trees[s][3]
        logits, update = policy._run(given["observation"], *trees[s], memory[i], written)
        correct, said = given["correct"][symbol], (np.arange(len(symbol)), answers[i])
        ahead = logits[said] - np.where(correct, -np.inf, logits).max(-1)
        _require((correct[said] & (ahead >= GAP)).all(), f"an answer after state {i}")
        low, high = (policy._round(update + side) for side in (-BOUNDARY, BOUNDARY))
        for leaf, after in enumerate(target[symbol[leaves]].tolist()):
            slot, unsure = low[leaf], low[leaf] != high[leaf]
            for way in itertools.product(*np.stack([slot, high[leaf]])[:, unsure].T):
                slot[unsure] = way
                slots = np.concatenate([memory[i][:, 1:], slot[:, None]], axis=1).astype(np.int8)
                found = number.get((after, min(written + 1, memory.shape[2]), slots.tobytes()))
                _require((i, leaf, found) in listed, f"a segment after state {i}")
    return digest


if __name__ == "__main__":
    print("proven for every length, with the weights", verify(sys.argv[1]))
