"""The results that the README names, from `docs/results`."""

import os
from pathlib import Path

from make_proofs import PROOFS
from make_tables import PARTS, RESULTS, rows, thousands


def _proven(task: str) -> str:
    """How many trainings of tasks of a name ended with a proof, and within how many env steps."""
    names = *PROOFS, "proofs-of-runes"
    found = [row for name in names for row in rows(name) if row["task"].startswith(task)]
    steps = [row["env steps"] for row in found if row["verdict"] == "proven"]
    return f"{len(steps)} of {len(found)} within {thousands(max(steps))}"


def _in_short(folder: Path) -> str:
    """The results that the README names."""
    (proofs,), (real,), (lstm,) = (rows(f"tmaze-{n}") for n in ("proofs", "real-values", "lstm"))
    first = proofs["steps to the first proof"]
    costs = {(r["what"], r["peer"]): r["ratio"] for r in rows("speed")}
    sampling = [costs[f"sampling, {n} envs", "LSTM"] for n in (16, 64)]
    updates = [costs[f"update, n={n}", "LSTM"] for n in (1, 2)]
    distributed = rows("distributed")
    link = Path(os.path.relpath(RESULTS.parent, folder)).as_posix()
    longest = max(row["corridor length"] for row in rows("tmaze-long"))
    lines = [
        f"**Proven**: trained on corridors of 3 to 30 steps, {len(first) - first.count(None)} of "
        f"{len(first)} policies are proven right in corridors of every length, within "
        f"{thousands(max(first))} env steps; played, too, up to {longest:,} steps. POPGym's "
        f"RepeatFirst is proven for any number of decks, {_proven('RepeatFirstEasy')}, its "
        f"RepeatPreviousEasy {_proven('RepeatPreviousEasy')}; the endless T-Maze for any number of "
        f"junctions, {_proven('TMazeEndless')}; mazes with runes that invert the hint, alone "
        f"or beside another kind, {_proven('TMazeRune invert')}; a T-Maze for all noise of "
        f"[-0.1, 0.1], {_proven('TMazePassive, noise')}. Proofs: "
        f"[mazes]({link}/results/README.md#the-t-maze), "
        f"[tasks]({link}/results/README.md#proofs-of-tasks)",
        f"**Sooner**: the T-Maze is solved after {_between(proofs['steps to 0.99'])} env steps, "
        f"with RLlib's LSTM after {_between(lstm['steps to 0.99'])}; where it has learned it, the "
        "LSTM holds the hint as well. "
        f"[Policies]({link}/results/README.md#the-t-maze)",
        f"**Rounding is what keeps**: a memory of real values answers {real['all right']['100']} "
        f"of {len(real['seeds'])} seeds right at 100 steps and {real['all right']['10,000']} at "
        f"10,000. [Which memory]({link}/results/README.md#which-memory)",
        f"**Sampling** makes {sampling[0]:.2f} (16 environments) to {sampling[1]:.2f} (64) of the "
        f"LSTM's env steps a second, IMPALA {distributed[0]['ratio']:.2f} to "
        f"{distributed[1]['ratio']:.2f}; an update costs more, {updates[0]:.2f} (one layer) to "
        f"{updates[1]:.2f} (two) of the LSTM's time. [Cost]({link}/speed.md)",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _between(steps: list[int | None]) -> str:
    reached = [value for value in steps if value is not None]
    return f"{thousands(min(reached))} to {thousands(max(reached))}"


PARTS["results-in-short"] = _in_short
