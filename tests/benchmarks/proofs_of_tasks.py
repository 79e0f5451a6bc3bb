"""Trainings that end with a proof, on public tasks and on the mazes: from when on, and of what.

    python tests/benchmarks/proofs_of_tasks.py --folder /tmp/proofs --seeds 301 302 303
    python tests/benchmarks/proofs_of_tasks.py --folder /tmp/proofs --tasks 'TMazeRune*' --lstm

Trains with each seed until the policy is proven or the env steps are spent, asks for the verdict on
the policy that this ends with, lets the independent checker read its proof, and plays the longest
form of the task. `--lstm` trains RLlib's LSTM in its place, for all env steps of the example, and
plays. What `--folder` holds already is not trained again. `--save NAME` keeps the table.
"""

import argparse
import copy
import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from results import add_save, save
from rich.console import Console
from rich.table import Table
from trainings import STEPS, changed, read_example, trained, with_lstm

from rllib_elmur.proof import check
from rllib_elmur.proof.certify import certify
from rllib_elmur.proof.minimal import minimise
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions, TrainOptions

REWARD = "env_runners/episode_return_mean"


@dataclass(frozen=True)
class Task:
    """A task, as a change to a tuned example.

    Attributes:
        example: The tuned example.
        env: Another environment.
        env_config: Options of it, laid over the example's.
        task: Another description.
        played: What the policy plays at the end: an environment, or options of the training's.
        episodes: How many of them.
    """

    example: str
    env: str | None = None
    env_config: dict[str, Any] = field(default_factory=dict)
    task: str | None = None
    played: str | dict[str, Any] = field(default_factory=dict)
    episodes: int = 64

    def experiment(self, steps: int | None) -> dict[str, Any]:
        """The training, as in a file."""
        experiment = copy.deepcopy(read_example(self.example))
        config = experiment["config"]
        config["env_config"] = config.get("env_config", {}) | self.env_config
        experiment |= {"env": self.env or experiment["env"]}
        experiment |= {"task": self.task} if self.task else {}
        experiment["stop"] |= {STEPS: steps} if steps else {}
        return experiment

    def with_lstm(self, steps: int | None) -> dict[str, Any]:
        """The same training with RLlib's LSTM, to its last env step."""
        experiment = self.experiment(steps)
        experiment.pop("task", None)
        del experiment["stop"]["certified"]
        config = experiment["config"]
        return experiment | {"config": changed(config, with_lstm(config))}


def _rune(composition: str, **options: Any) -> Task:
    longest = {"corridor_length": 80, "runes": 80}
    env_config = {"composition": composition, **options}
    return Task("tmaze-rune-ppo", env_config=env_config, played=longest, episodes=1000)


DESCRIPTIONS = "rllib_elmur.envs.public_tasks"
TASKS = {
    "RepeatFirstEasy": Task("popgym-repeat-first-ppo", played="popgym:popgym-RepeatFirstHard-v0"),
    "RepeatPreviousEasy": Task("popgym-repeat-previous-proven-ppo"),
    "memory_len30": Task(
        "popgym-repeat-first-ppo",
        env="suite_envs:MemoryChain-v0",
        env_config={"memory_length": 30},
        task=f"{DESCRIPTIONS}.memory_chain",
        played={"memory_length": 100},
    ),
    "TMazeRune invert": _rune("invert"),
    "TMazeRune invert+cancel": _rune("invert+cancel"),
    "TMazeRune invert+reset": _rune("invert+reset"),
    "TMazeRune invert+repeat": _rune("invert+repeat"),
    "TMazeRune all": _rune("invert+cancel+reset+repeat", runes=16),
    "TMazeEndless": Task("tmaze-endless-ppo", played={"junctions": 100}),
    "TMazePassive, noise": Task("tmaze-noise-ppo", played={"corridor_length": 10_000}),
}


def row_of(name: str, seed: int, steps: int | None, lstm: bool, folder: Path) -> dict[str, Any]:
    """Trains a task with a seed, and says what became of it."""
    task = TASKS[name]
    experiment = task.with_lstm(steps) if lstm else task.experiment(steps)
    options = TrainOptions(storage_path=folder, experiment_name="run")
    curve, checkpoints = trained("task", experiment, [seed], REWARD, options, Console())[seed]
    row = {"task": name, "seed": seed, "env steps": curve[-1][0], "seconds": round(curve[-1][2])}
    judged = {} if lstm else judgement(checkpoints[-1], folder)
    return row | judged | {"played": played(task, checkpoints[-1])}


def judgement(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """The verdict on a policy, and what its proof says."""
    certificate, _ = certify(checkpoint)
    row = {
        "verdict": certificate.verdict,
        "memories": certificate.states,
        "that act alike": None,
        "needed": None,
        "checked": None,
    }
    if certificate.proof is not None:
        memory = minimise(certificate.proof)
        row |= {"that act alike": len(memory.remembering), "needed": memory.needed}
        if certificate.pieces is None:  # the checker knows no bounds
            certificate.proof.save(folder / "proof.npz")
            row["checked"] = check.verify(folder / "proof.npz") == certificate.proof.digest
    return row


def played(task: Task, checkpoint: Path) -> float:
    """The share of right episodes of the longest form, or the mean return if none tells success."""
    others = {"env": task.played} if isinstance(task.played, str) else {"env_config": task.played}
    (row,) = evaluate([checkpoint], EvaluateOptions(**others, episodes=task.episodes))
    return row.episode_return if row.success is None else row.success


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=["*"], help="names or patterns")
    parser.add_argument("--seeds", type=int, nargs="+", default=[301, 302, 303])
    parser.add_argument("--steps", type=int, help="env steps of a training, at most")
    parser.add_argument("--lstm", action="store_true", help="train RLlib's LSTM instead")
    parser.add_argument("--folder", type=Path, required=True, help="keep all of it here")
    parser.add_argument("--table", action="store_true", help="print what it holds; no training")
    add_save(parser)
    return parser


def main() -> None:
    """Trains what the command line asks for, and prints the table."""
    arguments, rows = command_line().parse_args(), []
    names = [name for name in TASKS if any(fnmatchcase(name, p) for p in arguments.tasks)]
    for name, seed in product(names, arguments.seeds):
        policy = ["lstm"] if arguments.lstm else []
        folder = arguments.folder / "-".join([*name.split(), str(seed), *policy])
        file = folder / "row.json"
        if not (arguments.table or file.exists()):
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(row_of(name, seed, arguments.steps, arguments.lstm, folder)))
        if file.exists():
            rows.append(json.loads(file.read_text()))
            print(*rows[-1].values(), sep=" | ", flush=True)
    table = Table(*rows[0]) if rows else Table()
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=160).print(table)
    save(arguments.save, rows)


if __name__ == "__main__":
    main()
