"""The tables of what ELMUR costs: parts of the pages, made from `docs/results`."""

from collections.abc import Iterable

from make_tables import rows, table


@table(
    "costs",
    "what, ELMUR over peer | ratio | on another machine, with an earlier version",
    "speed",
    "speed-other-machine",
    "speed-sb3",
)
def _costs() -> Iterable[Iterable[str]]:
    lines = {
        "sampling, env steps/s over the LSTM's, 16 / 64 environments": ("sampling", "LSTM"),
        "the same over the MLP's": ("sampling", "MLP"),
        "bytes per env step to the learner over the LSTM's, 16 / 64": ("bytes", "LSTM"),
        "bytes over the MLP's": ("bytes", "MLP"),
        "seconds of a module step over tokenizer + LSTM + heads, two layers, B=16 / 64": (
            "module step, n=2",
            "LSTM",
        ),
        "the same, one layer": ("module step, n=1", "LSTM"),
        "seconds of PPO's update over the LSTM's, two layers / one": ("update, n=", "LSTM"),
        "the same at d=128, L=16, M=4, max_seq_len=64, two layers": ("update, d=128", "LSTM"),
        "training end to end, env steps/s over the LSTM's, 16 / 64 environments, two layers": (
            "training, n=2",
            "LSTM",
        ),
        "training end to end, one layer": ("training, n=1", "LSTM"),
    }
    for label, (begin, peer) in lines.items():
        yield label, *(_ratios(name, begin, peer) for name in ("speed", "speed-other-machine"))
    label = "training end to end over sb3-contrib's RecurrentPPO, one layer, 16 environments"
    yield label, "", _ratios("speed-sb3", "training", "RecurrentPPO")


def _ratios(name: str, begin: str, peer: str) -> str:
    found = [r for r in rows(name) if r["what"].startswith(begin) and r["peer"] == peer]
    return " / ".join(f"{row['ratio']:.2f}" for row in found)


@table("costs-of-defaults", "what | ELMUR's defaults over | ratio", "speed-defaults")
def _costs_of_defaults() -> Iterable[Iterable[str]]:
    for row in rows("speed-defaults"):
        what = row["what"].removeprefix("defaults: ")
        yield f"{what}, {row['unit']}", f"RLlib's {row['peer']}", f"{row['ratio']:.2f}"


@table("agents", "what | one policy | one policy each", "agents")
def _agents() -> Iterable[Iterable[str]]:
    found = {row["what"]: row for row in rows("agents")}
    for what in dict.fromkeys(name.rsplit(", ", 1)[0] for name in found):
        pair = [found[f"{what}, {policies}"] for policies in ("one policy", "two policies")]
        yield f"{what}, {pair[0]['unit']}", *(f"{row['ratio']:.2f}" for row in pair)


@table("growth", "grows | step | training", "speed-growth")
def _growth() -> Iterable[Iterable[str]]:
    ratios = {row["what"].removeprefix("growth of "): row["ratio"] for row in rows("speed-growth")}
    for what, ratio in ratios.items():
        if what.startswith("step, "):
            grows = what.removeprefix("step, ")
            name, change = grows.split(" ", 1)
            change = change.replace("->", "to")
            yield f"`{name}` {change}", f"{ratio:.2f}", f"{ratios[f'train, {grows}']:.2f}"


@table("distributed", "what | ratio", "distributed")
def _distributed() -> Iterable[Iterable[str]]:
    for row in rows("distributed"):
        yield row["what"], f"{row['ratio']:.2f}"


@table("soak", "what | rises by", "soak")
def _soak() -> Iterable[Iterable[str]]:
    for row in rows("soak"):
        yield row["what"], f"{row['rises by']:+.1%}"
