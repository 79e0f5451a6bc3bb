"""How fast the working tree is beside another commit: sampling, module step and update.

    python tests/benchmarks/against_commit.py COMMIT             environments of their own
    python tests/benchmarks/against_commit.py COMMIT --here      this one's packages for both

The two take turns in one run, each in a process of its own on one thread, and who begins changes
from round to round. A ratio is the working tree's speed over the commit's: above 1 it is faster.
Two processes of one and the same tree differ by some per cent for as long as they live, so several
pairs are started, one after the other. Without `--here` each tree gets a virtual environment with
the versions that its own `constraints.txt` names. The exit code is 1 if a median is below
`--at-least`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import IO, Any, cast

from results import add_save, save

ROOT = Path(__file__).resolve().parents[2]
TASKS = Path(__file__).with_name("timed_tasks.py")


class Side:
    """One of the two trees: a process that runs its tasks when it is asked to."""

    def __init__(self, tree: Path, python: Path, log: IO[str]):
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        pipe = subprocess.PIPE
        self._log = log
        self._process = subprocess.Popen(
            [python, TASKS], stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment
        )
        found, *self.tasks = self._answer().split("\t")
        if Path(found) != tree:
            raise SystemExit(f"{python} imports rllib_elmur from {found}, not from {tree}.")

    def ask(self, command: str) -> str:
        """Sends a command and returns its answer."""
        cast("IO[str]", self._process.stdin).write(f"{command}\n")
        cast("IO[str]", self._process.stdin).flush()
        return self._answer()

    def end(self) -> None:
        """Ends the process."""
        cast("IO[str]", self._process.stdin).close()
        self._process.wait()

    def _answer(self) -> str:
        line = cast("IO[str]", self._process.stdout).readline()
        if not line:
            raise SystemExit(f"A measured process failed:\n{Path(self._log.name).read_text()}")
        return line.strip()


def ratios(sides: dict[str, Side], task: str, rounds: int) -> list[float]:
    """The working tree's speed over the commit's, round by round."""
    for side in sides.values():
        side.ask(f"prepare {task}")
    found = []
    for i in range(rounds):
        order = sides if i % 2 else reversed(sides)
        seconds = {name: float(sides[name].ask("run")) for name in order}
        found.append(seconds["commit"] / seconds["tree"])
    return found


def row_of(task: str, pairs: list[list[float]]) -> dict[str, Any]:
    """The median ratio of a task, and the range of the medians of single pairs of processes."""
    medians = [statistics.median(pair) for pair in pairs]
    ratio = statistics.median(ratio for pair in pairs for ratio in pair)
    return {"what": task, "ratio": ratio, "range": [min(medians), max(medians)]}


def unpack(commit: str, folder: Path) -> Path:
    """Writes the files of a commit into a folder."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def environment_of(tree: Path, folder: Path) -> Path:
    """Makes a virtual environment with a tree's package; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-c", tree / "constraints.txt", "-e", tree], check=True)
    return python


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("commit", help="what the working tree is compared with")
    parser.add_argument("--here", action="store_true", help="use this environment's packages")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of processes, one at a time")
    parser.add_argument("--rounds", type=int, default=12, help="of each task in each pair")
    parser.add_argument("--only", default="", help="only tasks with this in their names")
    parser.add_argument("--at-least", type=float, default=0.0, help="the least ratio that passes")
    add_save(parser)
    return parser


def main() -> None:
    """Prints a row for each task."""
    options = command_line().parse_args()
    found: dict[str, list[list[float]]] = {}  # by task, a list for each pair of processes
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trees = {"commit": unpack(options.commit, folder / "commit"), "tree": ROOT}
        pythons = dict.fromkeys(trees, Path(sys.executable))
        if not options.here:
            pythons = {side: environment_of(trees[side], folder / f"venv-{side}") for side in trees}
        for i in range(options.pairs):
            print(f"Pair of processes {i + 1} of {options.pairs}", file=sys.stderr)
            sides: dict[str, Side] = {}
            for name in (*trees,) if i % 2 else (*reversed(trees),):
                log = (folder / f"{name}.log").open("w")
                sides[name] = Side(trees[name], pythons[name], log)
            for task in sides["tree"].tasks:
                if options.only in task:
                    found.setdefault(task, []).append(ratios(sides, task, options.rounds))
            for side in sides.values():
                side.end()
    rows = [row_of(task, pairs) for task, pairs in found.items()]
    print(f"{'speed over that of ' + options.commit[:12]:<32} ratio   of single pairs")
    for row in rows:
        low, high = row["range"]
        print(f"{row['what']:<32} {row['ratio']:.3f}   {low:.3f} - {high:.3f}")
    save(options.save, rows)
    raise SystemExit(any(row["ratio"] < options.at_least for row in rows))


if __name__ == "__main__":
    main()
