"""A picture of what a policy remembers, and for how long; the same as figures in a CSV."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rllib_elmur.envs.finite import FiniteTask
from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.environments import env_maker
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.process import one_thread, quiet
from rllib_elmur.proof import MAX_STATES
from rllib_elmur.proof.certificate import Certificate
from rllib_elmur.proof.certify import require_rounded, task_of_training
from rllib_elmur.proof.description import Describe, finite_task_of
from rllib_elmur.proof.minimal import minimise
from rllib_elmur.proof.proof import Proof
from rllib_elmur.proof.search import check_all_episodes
from rllib_elmur.report import LENGTH, SEGMENTS
from rllib_elmur.report.retention import Retention, follow
from rllib_elmur.runs.evaluate import OnStep, evaluate
from rllib_elmur.runs.options import EvaluateOptions
from rllib_elmur.runs.rows import Row

_LENGTHS = [1, 2, 3, 5, 10, 20, 30, 100, 300, 1000, 3000, 10_000]
_EPISODES = 32


def report(
    checkpoint: Path,
    picture: Path,
    segments: int = SEGMENTS,
    on_step: OnStep | None = None,
    task: Describe | None = None,
) -> tuple[Path, Path]:
    """Draws what a checkpoint's policy remembers.

    Args:
        checkpoint: A checkpoint, or a folder of results (its newest one).
        picture: The file (.png) to write. A table (.csv) of its figures is written beside it.
        segments: How long two hints are followed.
        on_step: Hears of the episodes that are played (see `runs.evaluate`).
        task: A function from the environment to its finite description, as `certify` takes it.

    Returns:
        The picture and the table.

    Raises:
        UserError: If the policy is not ELMUR or its environment has no finite description.
    """
    from rllib_elmur.report import pictures

    with quiet(), one_thread():
        policy = checkpoints.load(checkpoint)
        env = env_maker(checkpoints.environment_of(policy))(policy.env_config)
        if not isinstance(policy.module, ELMURTorchRLModule):
            raise UserError(f"{checkpoint}: a report needs an ELMUR policy.")
        network = policy.module.network
        finite = finite_task_of(env, task or task_of_training(policy.settings))
        # Mazes are played in corridors of many lengths, other environments as in the training.
        sweep = {LENGTH: _LENGTHS} if hasattr(env.unwrapped, LENGTH) else {}
        env.close()
        certificate = None if policy.connectors else _certificate(policy.module, finite)
        proof = certificate.proof if certificate is not None else None
        memory = None if proof is None else minimise(proof)
        retention = follow(network, finite, segments)
        rows = evaluate([checkpoint], EvaluateOptions(sweep=sweep, episodes=_EPISODES), on_step)
    table = picture.with_suffix(".csv")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "x", "value"])
        writer.writerows(_figures(rows, certificate, retention))
        if memory is not None:
            writer.writerow(["memories that act differently", "", len(memory.remembering)])
            writer.writerow(["memories that the task needs", "", memory.needed])
    length = network.elmur.config.segment_length
    pictures.draw(rows, certificate, retention, length, memory, picture)
    return picture, table


def _certificate(module: Any, task: FiniteTask) -> Certificate | None:
    """The certificate of a policy; None if it is none that can be certified."""
    try:
        network = require_rounded(module)
    except UserError:
        return None
    certificate = check_all_episodes(network, task, MAX_STATES)
    if certificate.closed is not None:
        certificate.proof = Proof(network, certificate)
    return certificate


def _figures(
    rows: list[Row], certificate: Certificate | None, retention: Retention
) -> Iterator[tuple[str, Any, Any]]:
    for row in rows:
        yield "success", row.swept.get(LENGTH, row.episode_length), row.success
    if certificate is not None:
        yield certificate.verdict, "", certificate.states
    for segments, distance in zip(retention.segments, retention.distance, strict=True):
        yield "distance", segments, distance
    for segment, anchors in enumerate(retention.anchors, 1):
        for (layer, slot), anchor in np.ndenumerate(anchors):
            yield f"anchor of layer {layer}, slot {slot}", segment, anchor
