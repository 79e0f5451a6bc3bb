"""Measures how long the memories of two hints differ in a corridor without an end."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.errors import UserError
from rllib_elmur.model.network import PolicyNetwork

_WAYS = 16  # sequences of noise on which memories are compared
_SHOWN = 24  # segments whose slots are drawn


class Retention(NamedTuple):
    """Memories of two hints along corridors that go on.

    Attributes:
        segments: After how many segments, (P,).
        distance: Mean distance per entry of memory between the hints, (P,).
        contents: What the slots hold after each of the first segments, (2, S, n, M, d).
        anchors: When they were last written, (S, n, M); -1 never.
    """

    segments: NDArray[np.int64]
    distance: NDArray[np.floating]
    contents: NDArray[np.floating]
    anchors: NDArray[np.int64]


@torch.no_grad()
def follow(network: PolicyNetwork, task: FiniteTask, segments: int) -> Retention:
    """Follows the memories of two hints through the same endless corridor."""
    length = network.elmur.config.segment_length
    points = np.unique(np.geomspace(1, segments, 60).astype(np.int64))
    points = np.unique(np.concatenate([np.arange(1, min(_SHOWN, segments) + 1), points]))
    ways = _ways(task, np.random.default_rng(0))
    state = network.elmur.initial_state(2 * _WAYS)
    distance, contents, anchors, done = [], [], [], 0
    for point in points:
        edges = np.stack([next(ways) for _ in range(int(point - done) * length)], axis=1)
        _, state = network(torch.as_tensor(task.observation[edges]), state)
        memory, done = state.memory.unflatten(0, (2, _WAYS)), point
        distance.append(float((memory[0] - memory[1]).abs().mean()))
        if point <= _SHOWN:
            contents.append(memory[:, 0].numpy())
            anchors.append(state.anchors[0].numpy())
    return Retention(points, np.array(distance), np.stack(contents, axis=1), np.stack(anchors))


def _ways(task: FiniteTask, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yields the edges of each time step: `_WAYS` rows that begin with one hint, then the other."""
    first = np.flatnonzero(np.isin(task.source, task.start))
    targets = np.unique(task.target[first])[:2]
    if len(targets) < 2:
        raise UserError("a report needs a task whose episodes begin in two different ways.")
    situations = np.asarray(targets)
    chosen = [first[task.target[first] == target] for target in targets]
    while True:
        draw = generator.integers(0, 2**31, _WAYS)
        yield np.concatenate([edges[draw % len(edges)] for edges in chosen])
        chosen = [_onward(task, situation) for situation in situations]
        situations = np.array([task.target[edges[0]] for edges in chosen])


def _onward(task: FiniteTask, situation: int) -> NDArray[np.int64]:
    """Returns the edges that show nothing new: those that stay, or else those to one situation."""
    here = np.flatnonzero(task.source == situation)
    stay = here[task.target[here] == situation]
    if len(stay):
        return stay
    on = here[(task.target[here] != END) & ~np.isin(task.target[here], task.start)]
    if not len(on):
        raise UserError("a report needs a task in which a corridor may go on without an end.")
    return on[task.target[on] == task.target[on[0]]]
