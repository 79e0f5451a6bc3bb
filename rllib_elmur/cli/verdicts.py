"""Certificates on the screen: the progress of a search, its verdict, its counterexample."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from rllib_elmur.cli import tables
from rllib_elmur.cli.flags import CertifyFlags
from rllib_elmur.cli.progress_bar import progress_bar, shown, words
from rllib_elmur.errors import UserError
from rllib_elmur.files.class_paths import object_at
from rllib_elmur.plugin.process import quiet
from rllib_elmur.proof import certify
from rllib_elmur.proof.certificate import Certificate
from rllib_elmur.proof.minimal import MinimalAutomaton, minimise
from rllib_elmur.proof.proof import require_points

_MOST_COLUMNS = 16


def certify_all(paths: Sequence[Path], options: CertifyFlags, console: Console) -> list[str]:
    """Certifies policies one after the other and prints what comes out; returns the verdicts.

    Raises:
        UserError: If one of them cannot be certified.
    """
    if options.out is not None:
        tables.check_out(options.out, (".json", ".npz"))
        if options.out.suffix == ".npz" and len(paths) > 1:
            raise UserError(f"--out {options.out}: a proof is of one checkpoint, not {len(paths)}.")
    task = described_by(options.task)
    records = []
    for path in paths:
        certificate, replay = _certify(path, options, task, console)
        memory = None if certificate.proof is None else minimise(certificate.proof)
        records.append({"checkpoint": str(path), **_record(certificate, memory, replay)})
        if len(paths) > 1:
            console.print(f"[bold]{path}[/]", soft_wrap=True)
        _print(certificate, memory, replay, options.max_states, console)
        if options.out is not None and options.out.suffix == ".npz":
            _write_proof(certificate, options.out, console)
    if options.out is not None and options.out.suffix == ".json":
        options.out.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
        console.print(f"Written: {options.out}", soft_wrap=True)
    return [record["verdict"] for record in records]


def _certify(
    path: Path, options: CertifyFlags, task: Any, console: Console
) -> tuple[Certificate, certify.Replay | None]:
    bar = progress_bar(
        console,
        "memories of at most {task.total:,}",
        "{task.completed:,}, {task.fields[answers]:,} answers",
    )
    with quiet(), bar:
        counted = bar.add_task("", total=options.max_states, answers=0)

        def on_progress(found: Certificate) -> None:
            if options.out is not None and options.out.suffix == ".npz":
                require_points(found.task, options.out)  # now, and not after the search
            bar.update(counted, completed=found.states, answers=found.answers)

        return certify.certify(
            path, options.env, options.env_config, options.max_states, on_progress, task
        )


def described_by(path: str | None) -> Any:
    """The function that `--task` names, or None.

    Raises:
        UserError: If there is none of this name.
    """
    if path is None:
        return None
    try:
        return object_at(path)
    except ValueError as error:
        raise UserError(f"--task {path}: {error}") from error


def _write_proof(certificate: Certificate, path: Path, console: Console) -> None:
    if certificate.proof is None:
        console.print(f"Not written: {path}. There is no proof.", soft_wrap=True)
        return
    certificate.proof.save(path)
    console.print(f"Written: {path}, of the weights {certificate.proof.digest}", soft_wrap=True)


def _print(
    certificate: Certificate,
    memory: MinimalAutomaton | None,
    replay: certify.Replay | None,
    most: int,
    console: Console,
) -> None:
    c = certificate
    match c.verdict:
        case "proven":
            noise = "" if c.pieces is None else " and for all noise within its bounds"
            console.print(
                f"[bold]Proven for every length[/]{noise}: no episode leads to a memory in which "
                "an answer is wrong.",
                soft_wrap=True,
            )
        case "refuted":
            console.print("[bold]Refuted[/]: there is an episode with a wrong answer.")
        case _ if c.pieces is not None and c.states <= most:
            console.print(
                "[bold]Undecided[/]: no answer is known to be wrong, but bounds of what the "
                f"policy does are too wide, even with noise in {c.pieces:,} pieces.",
                soft_wrap=True,
            )
        case _:
            console.print(
                f"[bold]Undecided[/]: no wrong answer among the first {c.states:,} memories, but "
                f"there are more (--max-states {most}).",
                soft_wrap=True,
            )
    console.print(
        f"{c.states:,} memories, {c.transitions:,} transitions, {c.answers:,} answers, smallest "
        f"logit gap {c.gap:.3g}, {c.seconds:.1f} s",
        soft_wrap=True,
    )
    if memory is not None:
        needed = "" if memory.needed is None else f"; the task needs at least {memory.needed:,}"
        console.print(
            f"Memories that act alike taken as one, there are {len(memory.remembering):,}"
            f"{needed}.\nIf actions are drawn: at most {c.chance:.3g} is the probability of a "
            "wrong one, a step.",
            soft_wrap=True,
        )
    if replay is not None:
        _print_replay(replay, console)


def _print_replay(replay: certify.Replay, console: Console) -> None:
    last = len(replay.observations) - 1
    said = "".join(f", {words(name)} {shown(value)}" for name, value in _scalars(replay.info))
    console.print(f"A shortest one, {last + 1:,} steps{said}:")
    steps = range(last + 1)
    if last >= _MOST_COLUMNS:
        half = _MOST_COLUMNS // 2
        steps = [*range(half), *range(last + 1 - half, last + 1)]
    table = Table(box=None, show_header=False)
    flat = replay.observations.reshape(last + 1, -1)
    names = replay.entries or [f"observation[{i}]" for i in range(flat.shape[1])]
    table.add_row("step", *(f"{t:,}" for t in steps))
    for name, values in zip(names, flat.T, strict=True):
        table.add_row(name, *(f"{values[t]:g}" for t in steps))
    table.add_row(
        "correct", *("/".join(map(str, np.flatnonzero(replay.correct[t]))) for t in steps)
    )
    table.add_row(
        "action", *(str(replay.actions[t]) if t < len(replay.actions) else "-" for t in steps)
    )
    console.print(table)
    console.print(
        "Replayed in the environment: "
        + ("the same, step by step" if replay.confirmed else "[bold]not the same[/]")
        + ("." if replay.success is None else f"; success {replay.success}.")
    )


def _record(
    certificate: Certificate, memory: MinimalAutomaton | None, replay: certify.Replay | None
) -> dict[str, Any]:
    apart = "task", "closed", "proof"
    fields = [field.name for field in dataclasses.fields(certificate) if field.name not in apart]
    record = {name: getattr(certificate, name) for name in fields}
    if certificate.proof is not None and memory is not None:
        record["remembered"], record["needed"] = len(memory.remembering), memory.needed
        record["digest"] = certificate.proof.digest
    record["counterexample"] = None
    if replay is not None:
        record["counterexample"] = {
            **dict(_scalars(replay.info)),
            "observations": replay.observations.tolist(),
            "correct": [np.flatnonzero(row).tolist() for row in replay.correct],
            "actions": replay.actions.tolist(),
            "confirmed": replay.confirmed,
            "success": replay.success,
        }
    return record


def _scalars(info: dict[str, Any]) -> Iterator[tuple[str, int | float | str]]:
    """What an environment says of an episode in single numbers and words."""
    for name, value in info.items():
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, (int, float, str)):
            yield name, value
