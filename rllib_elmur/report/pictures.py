"""The picture of a report: readable at 800 pixels and without colour."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from rllib_elmur.proof.certificate import Certificate
from rllib_elmur.proof.minimal import MinimalAutomaton
from rllib_elmur.report import LENGTH
from rllib_elmur.report.automaton import MOST_KINDS, draw_automaton
from rllib_elmur.report.retention import Retention
from rllib_elmur.runs.rows import Row


def draw(
    rows: list[Row],
    certificate: Certificate | None,
    retention: Retention,
    segment_length: int,
    memory: MinimalAutomaton | None,
    out: Path,
) -> None:
    """Draws success, distance of the hints, anchors, slots and automaton, one under the other."""
    proof = certificate.proof if certificate is not None else None
    small = memory is not None and len(np.unique(memory.kind)) <= MOST_KINDS
    heights = [1.1, 0.8, 0.8, 1.3, *([0.9] if small else [])]
    figure = Figure(figsize=(8, 2.5 * sum(heights)), layout="constrained")
    success, distance, anchors, slots, *automaton = figure.subplots(
        len(heights), 1, height_ratios=heights, squeeze=True
    )
    if small and memory is not None and proof is not None:
        draw_automaton(*automaton, proof, memory)
    _draw_success(success, rows, certificate)
    _draw_distance(distance, retention)
    _draw_anchors(anchors, retention, segment_length)
    _draw_slots(slots, retention)
    figure.savefig(out, dpi=100)


def _draw_success(axes: Any, rows: list[Row], certificate: Certificate | None) -> None:
    mazes = LENGTH in rows[0].swept
    said = [row for row in rows if row.success is not None]
    axes.plot(
        [row.swept[LENGTH] if mazes else row.episode_length for row in said],
        [row.success for row in said],
        "ko",
        label=f"played, {rows[0].episodes} episodes each",
    )
    if certificate is not None and certificate.verdict == "proven":
        axes.axhline(1.0, color="0.6", linewidth=6, zorder=0, label="proven for every length")
    elif certificate is not None and certificate.counterexample is not None:
        steps = len(certificate.counterexample)
        axes.plot([steps - 1], [0.0], "kx", markersize=10, label="an episode that goes wrong")
    axes.set_xlabel("corridor length (steps)" if mazes else "steps of an episode (mean)")
    axes.set_ylabel("success")
    axes.set_ylim(-0.05, 1.1)
    log_axis(axes)
    axes.legend(loc="lower left", frameon=False)


def _draw_distance(axes: Any, retention: Retention) -> None:
    axes.plot(retention.segments, retention.distance, "k-")
    axes.set_xlabel("segments without a hint")
    axes.set_ylabel("distance between\nthe two hints")
    axes.set_ylim(0, 1.1 * max(float(retention.distance.max()), 1e-6))
    log_axis(axes)


def _draw_anchors(axes: Any, retention: Retention, segment_length: int) -> None:
    anchors = retention.anchors  # (S, n, M)
    time = np.arange(1, len(anchors) + 1) * segment_length
    for slot in range(anchors.shape[2]):
        style = ("-", "--", ":", "-.")[slot % 4]
        axes.step(
            time, anchors[:, 0, slot], "k", linestyle=style, where="post", label=f"slot {slot}"
        )
    axes.set_xlabel("time step")
    axes.set_ylabel("anchor, first layer")
    axes.legend(loc="upper left", frameon=False, ncols=4)


def _draw_slots(axes: Any, retention: Retention) -> None:
    contents = retention.contents[:, :, 0]  # of the first layer: (2, S, M, d)
    hints, segments, n_slots, d = contents.shape
    # Rows: slot by slot, in each the two hints one under the other.
    rows = contents.transpose(2, 0, 3, 1).reshape(n_slots * hints * d, segments)
    high = max(float(np.abs(rows).max()), 1e-6)
    axes.imshow(
        rows,
        cmap="gray",
        vmin=-high,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, segments + 0.5, len(rows), 0),
    )
    bands = np.arange(n_slots * hints)
    axes.set_yticks(
        (bands + 0.5) * d, [f"slot {b // hints}, hint {'ab'[b % hints]}" for b in bands]
    )
    for band in bands[1:]:
        axes.axhline(band * d, color="black", linewidth=3 if band % hints == 0 else 1)
    axes.set_xlabel("segments since the episode's start")
    axes.set_title("what the slots of the first layer hold (black low, white high)", fontsize=10)


def log_axis(axes: Any) -> None:
    """Makes x logarithmic, with whole numbers at its ticks."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.grid(alpha=0.3)
