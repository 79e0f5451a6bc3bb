"""A picture of what a policy remembers, and for how long; the same as figures in a CSV."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.environments import env_maker
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.process import one_thread, quiet
from rllib_elmur.proof.certify import finite_task_of
from rllib_elmur.proof.search import Certificate, close
from rllib_elmur.report.retention import Retention, follow
from rllib_elmur.runs.evaluate import Row, evaluate
from rllib_elmur.runs.options import CertifyOptions, EvaluateOptions, ReportOptions

_LENGTHS = [1, 2, 3, 5, 10, 20, 30, 100, 300, 1000, 3000, 10_000]
_EPISODES = 32


def report(path: Path, options: ReportOptions, console: Console) -> tuple[Path, Path]:
    """Writes the report of a checkpoint's policy; returns the picture and the CSV.

    Raises:
        UserError: If the policy is not ELMUR or its environment has no finite description.
    """
    from rllib_elmur.report import pictures

    with quiet(), one_thread():
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
