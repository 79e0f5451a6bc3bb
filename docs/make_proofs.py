"""Tables of proofs: public tasks, mazes, runes."""

from collections.abc import Iterable
from itertools import chain, groupby
from typing import Any

from make_tables import each, rows, table, thousands

PROOFS = "proofs-of-tasks", "proofs-of-previous", "proofs-under-noise"


@table(
    "proofs-of-tasks",
    "task | seed | env steps | verdict | memories | act alike / needed | played at length",
    *PROOFS,
)
def _proofs_of_tasks() -> Iterable[Iterable[str]]:
    for row in chain.from_iterable(map(rows, PROOFS)):
        figures = f"{row['env steps']:,.0f}", row["verdict"], f"{row['memories']:,}", _alike(row)
        yield row["task"], str(row["seed"]), *figures, f"{row['played']:.3f}"


def _alike(row: dict[str, Any]) -> str:
    """Memories that act differently, and how many the task needs."""
    return "-" if row["that act alike"] is None else f"{row['that act alike']} / {row['needed']}"


@table(
    "runes",
    "composition | proven | after env steps | memories | act alike / needed | "
    "ELMUR, played at length | RLlib's LSTM",
    "proofs-of-runes",
    "runes-lstm",
)
def _runes() -> Iterable[Iterable[str]]:
    lstm: dict[str, list[float]] = {}
    for row in rows("runes-lstm"):
        lstm.setdefault(row["task"], []).append(row["played"])
    for task, group in groupby(rows("proofs-of-runes"), lambda row: row["task"]):
        seeds = list(group)
        proven = sum(row["verdict"] == "proven" for row in seeds)
        yield (
            task.removeprefix("TMazeRune "),
            f"{proven} of {len(seeds)}",
            each((row["env steps"] for row in seeds), thousands),
            each(f"{row['memories']:,}" for row in seeds),
            each(map(_alike, seeds)),
            each(f"{row['played']:.3f}" for row in seeds),
            each(f"{played:.3f}" for played in lstm[task]),
        )
