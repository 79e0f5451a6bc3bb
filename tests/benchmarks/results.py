"""Writes what a benchmark measured into `docs/results`, with all that is needed to repeat it.

`python docs/make.py` then puts the figures into the pages' tables.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "results"
PACKAGES = ("ray", "torch", "numpy", "gymnasium")

# All benchmarks import this before they start Ray, whose workers would be of low priority.
os.environ.setdefault("RAY_worker_niceness", "0")


def add_save(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--save NAME` to a benchmark's command line."""
    parser.add_argument("--save", metavar="NAME", help="write the rows to docs/results/NAME.json")


def saved(name: str) -> list[dict[str, Any]]:
    """The rows of `docs/results/NAME.json`."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def save(name: str | None, rows: list[dict[str, Any]]) -> None:
    """Writes `docs/results/NAME.json`.

    Args:
        name: The file's name; without one, nothing is written.
        rows: The figures: mappings of strings, numbers, None, and lists and mappings of these.
    """
    if name is not None:
        write(FOLDER / f"{name}.json", name, rows)


def write(path: Path, name: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Writes figures to a file, with the command, commit, machine and versions behind them.

    Args:
        path: The file.
        name: What its content is called.
        rows: As in `save`.
        **more: What else the file says.
    """
    script = Path(sys.argv[0]).resolve().relative_to(ROOT).as_posix()
    record = {
        "name": name,
        "command": shlex.join(["python", script, *sys.argv[1:]]),
        "commit": _git("describe", "--always", "--dirty", "--exclude", "*"),
        "date": date.today().isoformat(),
        "machine": {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0))},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        **more,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(record), encoding="utf-8")


def text_of(record: dict[str, Any]) -> str:
    """JSON with one key a line, and one row of the figures a line."""
    parts = [
        f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in record.items()
        if key != "rows"
    ]
    rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in record["rows"])
    return ",\n".join(["{\n" + parts[0], *parts[1:], f' "rows": [\n{rows}\n ]\n}}\n'])


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cpu() -> str:
    """The processor's name; its architecture where Linux does not say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
