"""Tables of options and names from the code that defines them."""

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_command

from rllib_elmur.cli.verbs import app
from rllib_elmur.config import ELMURConfig
from rllib_elmur.envs.endless import EndlessTMaze
from rllib_elmur.envs.multi_cue import MultiCueTMaze
from rllib_elmur.envs.passive import PassiveTMaze
from rllib_elmur.envs.runes import RuneTMaze
from rllib_elmur.envs.task import TMaze
from rllib_elmur.files.schema import CheckpointOptions, ExperimentOptions
from rllib_elmur.plugin.learner.options import LearnerOptions
from rllib_elmur.plugin.policy_options import PolicyOptions
from rllib_elmur.plugin.rllib_internals import PRIVATE_NAMES


def rows_of(head: str, rows: Iterable[Iterable[str]]) -> str:
    """A table with headings that are separated by `|`."""
    headings = [cell.strip() for cell in head.split("|")]
    body = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in body)


def options(config: Any) -> str:
    """The fields of a dataclass that hold their sentence and their range."""
    fields = dataclasses.fields(config)
    return rows_of(
        "option | default | allowed | what it does",
        ((f"`{f.name}`", f"{f.default}", _allowed(f), f.metadata["help"]) for f in fields),
    )


def _allowed(field: dataclasses.Field) -> str:
    low, high = field.metadata["low"], field.metadata["high"]
    if isinstance(field.default, bool):
        return "True, False"
    allowed = " to ".join(f"{bound:g}" for bound in (low, high) if bound is not None)
    allowed += "" if high is not None else " or more"
    return allowed + (", None" if field.metadata["optional"] else "")


def attributes(task: Any, inherited: Any = None) -> str:
    """The fields of a dataclass whose docstring has a section of attributes."""
    known = {f.name for f in dataclasses.fields(inherited)} if inherited else set()
    text = task.__doc__.split("Attributes:\n", 1)[1].split("\n\n")[0]
    found = re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w|\Z)", text + "\n", re.M | re.S)
    sentences = {name: " ".join(sentence.split()) for name, sentence in found}
    fields = [f for f in dataclasses.fields(task) if f.name not in known]
    return rows_of(
        "option | default | what it is",
        ((f"`{f.name}`", _shown(f.default), sentences[f.name]) for f in fields),
    )


def _shown(default: Any) -> str:
    return f"`{default!r}`" if isinstance(default, str) else f"{default}"


def flags(*verb: str) -> str:
    """The flags of a verb of the command line."""
    command = get_command(app)
    for word in verb:
        command = command.commands[word]
    return rows_of(
        "option | default | what it does",
        (
            (", ".join(_flag(p, n) for n in (*p.opts, *p.secondary_opts)), _default(p), p.help)
            for p in command.params
            if p.param_type_name == "option" and "--help" not in p.opts
        ),
    )


def keys(model: type[BaseModel]) -> str:
    """The keys of a mapping in a file."""
    return rows_of(
        "key | default | what it is",
        (
            (f"`{name}`", _shown_key(field), field.description or "")
            for name, field in model.model_fields.items()
        ),
    )


def _shown_key(field: Any) -> str:
    if field.is_required():
        return "must be given"
    return "" if field.default_factory else f"{field.default}"


def _flag(option: Any, name: str) -> str:
    return f"`{name} {option.metavar}`" if option.metavar else f"`{name}`"


def _default(option: Any) -> str:
    return "" if option.default is None or option.is_flag or option.count else f"{option.default}"


def private_names() -> str:
    """The private names of Ray, with the versions in which they were read."""
    return rows_of(
        "module of Ray | read in | names",
        (
            (f"`{module}`", f"{oldest} to {newest}", ", ".join(f"`{n}`" for n in names.split()))
            for (module, oldest, newest), names in PRIVATE_NAMES.items()
        ),
    )


PARTS: dict[str, Callable[[Path], str]] = {
    "rllib-names": lambda folder: private_names(),
    "options-model": lambda folder: options(ELMURConfig),
    "options-policy": lambda folder: options(PolicyOptions),
    "options-learner": lambda folder: options(LearnerOptions),
    "options-maze": lambda folder: attributes(TMaze),
    "options-passive": lambda folder: attributes(PassiveTMaze, TMaze),
    "options-endless": lambda folder: attributes(EndlessTMaze, PassiveTMaze),
    "options-rune": lambda folder: attributes(RuneTMaze, TMaze),
    "options-multi-cue": lambda folder: attributes(MultiCueTMaze, TMaze),
    "options-experiment": lambda folder: keys(ExperimentOptions),
    "options-checkpoints": lambda folder: keys(CheckpointOptions),
    "options-train": lambda folder: flags("train", "file"),
    "options-evaluate": lambda folder: flags("evaluate"),
    "options-certify": lambda folder: flags("certify"),
    "options-report": lambda folder: flags("report"),
}
