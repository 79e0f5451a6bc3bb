"""A picture of what a policy remembers, and for how long; the same as figures in a CSV."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.experiments import checkpoints, cluster
from rllib_elmur.experiments.certify import finite_task_of
from rllib_elmur.experiments.closure import Certificate, close
from rllib_elmur.experiments.environment import env_maker
from rllib_elmur.experiments.evaluate import Row, evaluate
from rllib_elmur.experiments.options import CertifyOptions, EvaluateOptions, ReportOptions
from rllib_elmur.experiments.problems import UserError
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.plugin.module import ELMURTorchRLModule

_LENGTHS = [1, 2, 3, 5, 10, 20, 30, 100, 300, 1000, 3000, 10_000]
_EPISODES = 32
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


def report(path: Path, options: ReportOptions, console: Console) -> tuple[Path, Path]:
    """Writes the report of a checkpoint's policy; returns the picture and the CSV.

    Raises:
        UserError: If the policy is not ELMUR or its environment has no finite description.
    """
    from rllib_elmur.experiments import pictures

    with cluster.quiet(), cluster.one_thread():
        policy = checkpoints.load(path)
        env = env_maker(policy.settings["env"])(policy.env_config)
        if not isinstance(policy.module, ELMURTorchRLModule):
            raise UserError(f"{path}: a report needs an ELMUR policy.")
        network, task = policy.module.network, finite_task_of(env)
        env.close()
        certificate = None
        if network.elmur.config.memory_levels is not None and not policy.connectors:
            certificate = close(network, task, CertifyOptions.max_states)
        retention = follow(network, task, options.segments)
        rows = evaluate(
            [path],
            EvaluateOptions(env_config={"corridor_length": _LENGTHS}, episodes=_EPISODES),
            console,
        )
    picture = options.out or Path("report.png")
    table = picture.with_suffix(".csv")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "x", "value"])
        writer.writerows(_figures(rows, certificate, retention))
    pictures.draw(rows, certificate, retention, network.elmur.config.segment_length, picture)
    return picture, table


@torch.no_grad()
def follow(network: PolicyNetwork, task: FiniteTask, segments: int) -> Retention:
    """Shows a policy each of two hints, then corridor without an end, the same for both."""
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
    """Edges of the next time step: `_WAYS` rows that begin with one hint, then as many others."""
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
    """The edges on which nothing new is said: those that stay, or else one way on."""
    here = np.flatnonzero(task.source == situation)
    stay = here[task.target[here] == situation]
    if len(stay):
        return stay
    on = here[(task.target[here] != END) & ~np.isin(task.target[here], task.start)]
    return on[task.target[on] == task.target[on[0]]]


def _figures(
    rows: list[Row], certificate: Certificate | None, retention: Retention
) -> Iterator[tuple[str, Any, Any]]:
    for row in rows:
        yield "success", row.corridor_length, row.success
    if certificate is not None:
        yield certificate.verdict, "", certificate.states
    for segments, distance in zip(retention.segments, retention.distance, strict=True):
        yield "distance", segments, distance
    for segment, anchors in enumerate(retention.anchors, 1):
        for (layer, slot), anchor in np.ndenumerate(anchors):
            yield f"anchor of layer {layer}, slot {slot}", segment, anchor
