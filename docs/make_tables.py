"""Tables of the pages from the files in `docs/results`, which the benchmarks write."""

import json
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Result = dict[str, Any]
LINES = Callable[..., Iterable[Iterable[str]]]
PARTS: dict[str, Callable[[Path], str]] = {}


@cache
def result(name: str) -> Result:
    """What a benchmark wrote to `docs/results/NAME.json`."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def rows(name: str) -> list[dict[str, Any]]:
    """The figures of a result."""
    return result(name)["rows"]


def table(name: str, head: str, *sources: str) -> Callable[[LINES], LINES]:
    """Makes a function that yields a table's lines a part of the pages.

    Args:
        name: How the pages call the part.
        head: Headings, separated by `|`.
        *sources: The results that the table shows; each is named below it with its command.
    """
    headings = [cell.strip() for cell in head.split("|")]

    def register(lines: LINES) -> LINES:
        def part(folder: Path) -> str:
            body = [headings, ["---"] * len(headings), *lines()]
            made = "\n".join(f"| {' | '.join(cells)} |" for cells in body)
            return "\n".join([made, "", *(source(name, folder) for name in sources)])

        PARTS[name] = part
        return lines

    return register


def source(name: str, folder: Path) -> str:
    """A line that says where figures come from."""
    made = result(name)
    link = Path(os.path.relpath(RESULTS / f"{name}.json", folder)).as_posix()
    cpu = made["machine"]["cpu"]
    where = f"{made['machine']['cores']} cores" + (f" of an {cpu}" if cpu else "")
    note = f" {made['note'][0].upper()}{made['note'][1:]}." if "note" in made else ""
    return (
        f"- [`{name}`]({link}): `{made['command']}`; commit {made['commit']}, {made['date']}, "
        f"Ray {made['versions']['ray']}, {where}.{note}"
    )


def thousands(steps: int | None, limit: int | None = None) -> str:
    """Env steps: 116k; what was not reached is a dash, or names the limit."""
    if steps is None:
        return f"not by {limit / 1000:.0f}k" if limit else "-"
    return f"{steps / 1000:.0f}k"


def each(values: Iterable[Any], form: Callable[[Any], str] = str) -> str:
    """Values of several seeds, in their order."""
    return ", ".join(form(value) for value in values)


def span(values: list[Any], form: str = ",") -> str:
    """The least and the most of some values."""
    low, high = (format(f(values), form) for f in (min, max))
    return low if low == high else f"{low}-{high}"


def mean(values: Any) -> float:
    """The mean of several seeds, which older results have in place of the values."""
    return sum(values) / len(values) if isinstance(values, list) else values


def model_of(row: dict[str, Any]) -> dict[str, Any]:
    """The options of ELMUR that tell a policy of `learning.py --model` from others."""
    return json.loads(row["policy"].removeprefix("ELMUR "))


@table(
    "tmaze-policies",
    "policy | solved after env steps | lowest | all right at 100 / 1,000 / 10,000 "
    "| mean success there",
    "tmaze-proofs",
    "tmaze-real-values",
    "tmaze-lstm",
)
def _tmaze_policies() -> Iterable[Iterable[str]]:
    (proofs,) = rows("tmaze-proofs")
    first = proofs["steps to the first proof"]
    proven = f"proven for every length: {len(first) - first.count(None)} of {len(first)}"
    lowest = f"{proofs['lowest after 0.97']:.3f}"
    yield "ELMUR, memory_levels=2", _solved(proofs), lowest, proven, ""
    for row in (*rows("tmaze-real-values"), *rows("tmaze-lstm")):
        of = len(row["seeds"])
        right = " / ".join(f"{n} of {of}" for n in row["all right"].values())
        success = " / ".join(f"{mean(s):.2f}" for s in row["success"].values())
        yield row["policy"], _solved(row), f"{row['lowest after 0.97']:.3f}", right, success


def _solved(row: dict[str, Any]) -> str:
    limit = row.get("env steps")
    return each(row["steps to 0.99"], lambda steps: thousands(steps, limit))


@table(
    "tmaze-proofs",
    "seed | proven first after env steps | of the next 20 checkpoints | of the last ten "
    "| memories at the end",
    "tmaze-proofs",
)
def _tmaze_proofs() -> Iterable[Iterable[str]]:
    (row,) = rows("tmaze-proofs")
    names = "proven of the 20 after it", "proven of the last ten", "memories"
    for i, seed in enumerate(row["seeds"]):
        first = thousands(row["steps to the first proof"][i])
        yield f"{seed}", first, *(f"{row[name][i]}" for name in names)


@table(
    "overwritten-proofs",
    "maze | success in training reaches 0.99 | proven first | last ten checkpoints proven "
    "| memories, gap at the end | played",
    "corrected-proofs",
    "endless-proofs",
    "corrected-played",
    "endless-played",
)
def _overwritten_proofs() -> Iterable[Iterable[str]]:
    mazes = {
        "corrected": ("corrected hint: corridors 1 to 8, at most 12 corrections", "10,000 steps"),
        "endless": ("many junctions: at most 5, corridors 3 to 12", "50 junctions"),
    }
    for name, (maze, length) in mazes.items():
        (row,), played = rows(f"{name}-proofs"), rows(f"{name}-played")
        yield (
            maze,
            each(row["steps to 0.99"], thousands),
            each(row["steps to the first proof"], thousands),
            each(row["proven of the last ten"]),
            f"{each(row['memories'])}; {span(row['smallest gap'], '.1f')}",
            f"{each(p['success'] for p in played)} at {length} "
            f"({played[0]['episodes']} episodes each)",
        )


@table(
    "overwritten-peers",
    "policy | corrected: 0.99 at; mean success at 100 / 1,000 / 10,000 "
    "| endless: 0.99 at; success on 50 junctions",
    "corrected-peers",
    "endless-peers",
)
def _overwritten_peers() -> Iterable[Iterable[str]]:
    for row, other in zip(rows("corrected-peers"), rows("endless-peers"), strict=True):
        success = " / ".join(f"{mean(s):.2f}" for s in row["success"].values())
        yield (
            row["policy"],
            f"{each(row['steps to 0.99'], thousands)}; {success}",
            f"{each(other['steps to 0.99'], thousands)}; {each(other['success']['50'])}",
        )


@table(
    "memories",
    "memory | T-Maze solved after env steps | proven of the last ten checkpoints "
    "| memories of the last one, if proven | StatelessCartPole: env steps to 350",
    "memories-tmaze",
    "memories-cartpole",
)
def _memories() -> Iterable[Iterable[str]]:
    kinds = {
        "real values": ({"memory_levels": None}, {"memory_levels": None}),
        "**2 levels**": ({}, {"memory_levels": 2}),
        "3 levels": ({"memory_levels": 3}, {"memory_levels": 3}),
        "5 levels": ({"memory_levels": 5}, {"memory_levels": 5}),
        "2 levels, lambda 1": ({"lru_blend": 1.0}, {"memory_levels": 2, "lru_blend": 1.0}),
        "2 levels, two layers": ({"n_layers": 2}, {"memory_levels": 2, "n_layers": 2}),
        "5 levels, two layers": (None, {"memory_levels": 5, "n_layers": 2}),
        "real values, two layers": (None, {"n_layers": 2}),
    }
    for label, (in_maze, on_pole) in kinds.items():
        maze = next((r for r in rows("memories-tmaze") if r["model"] == in_maze), None)
        pole = next(r for r in rows("memories-cartpole") if model_of(r) == on_pole)
        proven, count = "", ""
        if maze is not None:
            proven = maze["proven of the last ten"] and each(maze["proven of the last ten"])
            count = span(maze["memories"]) if maze["memories"] else ""
        yield (
            label,
            each(maze["steps to 0.99"], thousands) if maze else "",
            "cannot be" if proven is None else proven,
            count,
            each(pole["steps to 350"], thousands),
        )


@table(
    "asynchronous",
    " | success 0.99 and proven for every length after env steps | minutes",
    "impala",
    "appo",
)
def _asynchronous() -> Iterable[Iterable[str]]:
    for row in (*rows("impala"), *rows("appo")):
        yield row["algorithm"], each(row["steps to the proof"], thousands), each(row["minutes"])


@table("dips", "learner | trainings | solved at | lowest", "dips")
def _dips() -> Iterable[Iterable[str]]:
    for row in rows("dips"):
        remark = f"; {row['remark']}" if row["remark"] else ""
        low, high = (thousands(f(row["steps to 0.99"])) for f in (min, max))
        solved = low if low == high else f"{low}-{high}"
        yield (
            row["learner"],
            f"{row['trainings']}",
            solved,
            f"{row['lowest after 0.97']:.3f}{remark}",
        )


@table(
    "readme-example",
    "seed | solved after env steps | success at 30 / 100 / 1,000 / 10,000",
    "readme-example",
)
def _readme_example() -> Iterable[Iterable[str]]:
    for row in rows("readme-example"):
        played = " / ".join(f"{success:.2f}" for success in row["played"].values())
        yield f"{row['seed']}", thousands(row["steps to 0.99"]), played
