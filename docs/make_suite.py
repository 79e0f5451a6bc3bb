"""Tables of tasks and examples that others wrote, from `docs/results`."""

from collections.abc import Iterable
from typing import Any

from make_tables import each, mean, rows, table, thousands

SUITE = "suite"
POLICIES = ("elmur", "lstm")
PEERS = ("RLlib's", "ELMUR's")
SOLVED = 350  # StatelessCartPole, in RLlib's own example
Row = dict[str, Any]


@table("suite", "task | measure | env steps | seeds | ELMUR's defaults | RLlib's LSTM", SUITE)
def _suite() -> Iterable[Iterable[str]]:
    settings: dict[str, dict[str, dict[str, Row]]] = {}
    for name, of_task in _by_task().items():
        first = next(iter(of_task.values()))
        if "solved" in first:  # one setting of a family
            settings.setdefault(name.rstrip("0123456789"), {})[name] = of_task
            continue
        cells = [_cell(of_task[p]) if p in of_task else "" for p in POLICIES]
        yield name, first["measure"], f"{first['env steps']:,}", _counts(of_task), *cells
    for family, of_family in settings.items():
        numbers = sorted(int(name.removeprefix(family)) for name in of_family)
        name = f"{family}, {numbers[0]} to {numbers[-1]}"
        steps = {row["env steps"] for of_task in of_family.values() for row in of_task.values()}
        each = " to ".join(f"{ends:,}" for ends in sorted({min(steps), max(steps)}))
        counts = _counts(next(iter(of_family.values())))
        yield name, "settings solved", each, counts, *(_solved(of_family, p) for p in POLICIES)


@table("suite-in-short", "task | env steps | ELMUR's defaults | RLlib's LSTM")
def _suite_in_short() -> Iterable[Iterable[str]]:
    for name, measure, steps, _, *cells in _suite():
        if name.startswith(("MultiCue", "TMaze")):  # of these the README has pictures
            continue
        yield f"{name}{'' if measure == 'return' else f', {measure}'}", steps, *cells


@table("cartpole", "policy | env steps to a mean return of 350 | mean of the last tenth", SUITE)
def _cartpole() -> Iterable[Iterable[str]]:
    of_task = _by_task()["StatelessCartPole"]
    for policy, label in zip(POLICIES, ("ELMUR's defaults", "RLlib's LSTM"), strict=True):
        reached = each(map(_reached, of_task[policy]["curves"]), thousands)
        yield label, reached, each(of_task[policy]["last tenth"], lambda value: f"{value:.0f}")


@table(
    "rllib-examples",
    "example | env steps | stop reward | mean return, last tenth: RLlib's | ELMUR's "
    "| env steps to the stop reward: RLlib's | ELMUR's",
    "rllib-examples",
)
def _rllib_examples() -> Iterable[Iterable[str]]:
    for row in rows("rllib-examples"):
        stop = "none" if row["stop reward"] is None else f"{row['stop reward']:g}"
        yield (
            f"`{row['example']}`",
            thousands(row["env steps"]),
            stop,
            *(each(row[f"{peer} last tenth"], "{:.3g}".format) for peer in PEERS),
            *(each(row[f"{peer} steps to stop"], thousands) for peer in PEERS),
        )


def _reached(curve: list[list[float]]) -> float | None:
    return next((steps for steps, value in curve if value >= SOLVED), None)


def _by_task() -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows(SUITE):
        found.setdefault(row["task"], {})[row["policy"]] = row
    return found


def _counts(of_task: dict[str, Row]) -> str:
    """How many seeds each policy has."""
    seeds = [len(of_task[p]["seeds"]) for p in POLICIES if p in of_task]
    return str(seeds[0]) if len(set(seeds)) == 1 else " / ".join(map(str, seeds))


def _solved(of_family: dict[str, dict[str, Row]], policy: str) -> str:
    """How many settings of a family a policy solves, over all seeds."""
    each = [solved for t in of_family.values() if policy in t for solved in t[policy]["solved"]]
    return f"{sum(each)} of {len(each)}"


def _cell(row: Row) -> str:
    last, digits = row["last tenth"], 0 if abs(mean(row["last tenth"])) > 10 else 3
    spread = f" ({min(last):.{digits}f} to {max(last):.{digits}f})" if len(last) > 1 else ""
    fall = f"; fell by {row['fall']:.0%} of the span" if row["fall"] > 0.1 else ""
    return f"{mean(last):.{digits}f}{spread}{fall}"
