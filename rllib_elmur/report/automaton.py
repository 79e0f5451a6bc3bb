"""The automaton that a proven policy acts as: what leads from memory to memory, and a picture."""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from rllib_elmur.proof.minimal import MinimalAutomaton
from rllib_elmur.proof.proof import Proof

MOST_KINDS = 8  # that can be drawn
_BEND = 0.35  # of an arrow, as a share of its length


class Arrow(NamedTuple):
    """Segments that lead from memories of one kind to those of another.

    Attributes:
        source: The kind before.
        target: The kind after.
        seen: What is seen in each of these segments and not in all others of the source, such as
            "hint 1".
    """

    source: int
    target: int
    seen: str


def arrows(proof: Proof, memory: MinimalAutomaton) -> list[Arrow]:
    """What leads from kind to kind."""
    found: dict[tuple[int, int], set[tuple[str, float]]] = {}
    cached: dict[tuple[int, int], set[tuple[str, float]]] = {}
    for state, leaf, after in proof.transitions.tolist():
        situation = int(proof.states.situation[state])
        if (situation, leaf) not in cached:
            cached[situation, leaf] = _seen(proof, situation, leaf)
        way = int(memory.kind[state]), int(memory.kind[after])
        found[way] = found.get(way, cached[situation, leaf]) & cached[situation, leaf]
    common: dict[int, set[tuple[str, float]]] = {}
    for (source, _), seen in found.items():
        common[source] = common.get(source, seen) & seen
    several = defaultdict(int)
    for source, _ in found:
        several[source] += 1
    return [
        Arrow(source, target, _words(seen - common[source] if several[source] > 1 else set()))
        for (source, target), seen in sorted(found.items())
    ]


def _seen(proof: Proof, situation: int, leaf: int) -> set[tuple[str, float]]:
    """The entries that are not 0 in a segment, with their values."""
    tree = proof.trees[situation]
    edges = tree.symbol[tree.path[tree.leaves[leaf]]]
    rows = proof.task.observation[edges].reshape(len(edges), -1)
    names = proof.task.entries or [f"[{i}]" for i in range(rows.shape[1])]
    return {(names[i], float(rows[t, i])) for t, i in np.argwhere(rows != 0)}


def _words(seen: set[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in sorted(seen))


def draw_automaton(axes: Any, proof: Proof, memory: MinimalAutomaton) -> None:
    """Draws the kinds of memories in a row, those of an episode's start first."""
    kinds = np.unique(memory.kind)
    order = sorted(kinds.tolist(), key=lambda kind: (kind in memory.remembering, kind))
    place = {kind: i for i, kind in enumerate(order)}
    begin = set(memory.kind[proof.states.written == 0].tolist())
    for kind, x in place.items():
        name = "start" if kind in begin else "ABCDEFGH"[x]
        text = f"{name}\n{(memory.kind == kind).sum():,}"
        style = {"boxstyle": "circle,pad=0.4", "facecolor": "white", "edgecolor": "black"}
        axes.text(x, 0, text, ha="center", va="center", bbox=style, fontsize=8)
    for arrow in arrows(proof, memory):
        a, b = place[arrow.source], place[arrow.target]
        if a == b:
            axes.text(
                a, -0.55, f"stays: {arrow.seen}" if arrow.seen else "stays", ha="center", fontsize=8
            )
            continue
        bend = -_BEND if a < b else _BEND
        style = {
            "arrowstyle": "->",
            "connectionstyle": f"arc3,rad={bend}",
            "shrinkA": 22,
            "shrinkB": 22,
        }
        axes.annotate("", (b, 0), (a, 0), arrowprops=style)
        side = 1 if a < b else -1
        axes.text(
            (a + b) / 2,
            side * (abs(bend) * abs(b - a) / 2 + 0.08),
            arrow.seen,
            ha="center",
            fontsize=8,
        )
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_ylim(-0.8, abs(_BEND) * (len(order) - 1) / 2 + 0.3)
    axes.set_aspect("equal")
    axes.set_axis_off()
    needed = "" if memory.needed is None else f"; the task needs at least {memory.needed}"
    axes.set_title(
        f"memories that act alike taken as one: {len(memory.remembering)}{needed}",
        fontsize=10,
    )
