"""The flags of the verbs: each field of a dataclass of options becomes one."""

import inspect
import json
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Annotated, Any, get_type_hints

import typer

from rllib_elmur.config import option
from rllib_elmur.files.source import read_values
from rllib_elmur.proof import MAX_STATES
from rllib_elmur.report import SEGMENTS
from rllib_elmur.runs.options import EvaluateOptions, TrainOptions


def _print_versions(wanted: bool) -> None:
    if wanted:
        versions = (f"{name} {version(name)}" for name in ("rllib_elmur", "ray", "torch"))
        typer.echo(f"{', '.join(versions)}, Python {python_version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Print versions.")
]
File = Annotated[Path, typer.Argument(help="YAML, or Python that defines `config`.")]
Name = Annotated[str, typer.Argument(help="Name of the example.")]
NewFile = Annotated[Path | None, typer.Option(help="File to write it to.")]
Checkpoint = Annotated[Path, typer.Argument(help="A checkpoint, or a folder of results.")]
Checkpoints = Annotated[
    list[Path], typer.Argument(help="Checkpoints, or folders of results (their newest).")
]


@dataclass(frozen=True)
class RunFlags(TrainOptions):
    """Flags of `rllib train`, without a file."""

    run: str | None = option(None, "An algorithm of RLlib, such as PPO.")
    env: str | None = option(None, "A registered id, a class path, or module:id.")
    config: dict[str, Any] | None = option(None, "What a file says under `config`.")


@dataclass(frozen=True)
class EvaluateFlags(EvaluateOptions):
    """Flags of `rllib evaluate`."""

    out: Path | None = option(None, "Write the table (.csv, .json) or a figure (.png).")


@dataclass(frozen=True)
class CertifyFlags:
    """Flags of `rllib certify`."""

    env: str | None = option(None, "Another environment than in training.")
    env_config: dict[str, Any] | None = option(None, "Environment options.")
    task: str | None = option(None, "Function that describes the environment (module:function).")
    max_states: int = option(MAX_STATES, "Give up with more states than this.", low=1)
    out: Path | None = option(
        None, "Write the certificates (.json), or the proof of one checkpoint (.npz)."
    )


@dataclass(frozen=True)
class ReportFlags:
    """Flags of `rllib report`."""

    task: str | None = option(None, "Function that describes the environment (module:function).")
    segments: int = option(SEGMENTS, "Segments over which the hints are kept apart.", low=1)
    out: Path = option(Path("report.png"), "Picture (.png). The CSV stands beside it.")


def takes(options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb the fields of `options` as flags, and calls it with an object of these."""
    hints = get_type_hints(options)
    flags = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_annotation(field, hints[field.name]),
        )
        for field in fields(options)
    ]
    swept = [name for name, hint in hints.items() if hint == dict[str, list[Any]] | None]

    def with_flags(verb: Callable[..., None]) -> Callable[..., None]:
        @wraps(verb)
        def called(*arguments: Any, **given: Any) -> None:
            names = [flag.name for flag in flags]
            own = {name: given.pop(name) for name in list(given) if name not in names}
            for name in swept:
                given[name] = _lists(given[name]) if given[name] else None
            verb(*arguments, **own, options=options(**given))

        parameters = list(inspect.signature(verb).parameters.values())
        kept = [parameter for parameter in parameters if parameter.name != "options"]
        called.__signature__ = inspect.Signature([*kept, *flags])  # ty: ignore[missing-attribute]
        called.__annotations__ = {p.name: p.annotation for p in (*kept, *flags)}
        return called

    return with_flags


def _annotation(field: Field, hint: Any) -> Any:
    """How an option is spelt on the command line, by the type of its values."""
    name, text = f"--{field.name.replace('_', '-')}", field.metadata["help"]
    if field.name == "verbose":
        return Annotated[hint, typer.Option("-v", name, count=True, help=text)]
    if hint == bool | None:
        return Annotated[hint, typer.Option(f"{name}/--no-{name.removeprefix('--')}", help=text)]
    if hint is bool:
        return Annotated[hint, typer.Option(name, help=text)]
    if hint == dict[str, Any] | None:
        return Annotated[hint, typer.Option(name, parser=_json_object, metavar="JSON", help=text)]
    if hint == dict[str, list[Any]] | None:
        return Annotated[list[str] | None, typer.Option(name, metavar="KEY=A,B,C", help=text)]
    return Annotated[hint, typer.Option(name, min=field.metadata["low"], help=text)]


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{text!r} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{text!r} must be a JSON object, such as '{{\"a\": 1}}'.")
    return value


def _lists(texts: list[str]) -> dict[str, list[Any]]:
    """Values of names from texts such as ``size=1,2``; the values are YAML."""
    lists: dict[str, list[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        try:
            found = read_values(values)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r}: {error}") from error
        if not name or not found:
            raise typer.BadParameter(f"{text!r} must be a name and values, such as 'size=1,2,5'.")
        lists.setdefault(name, []).extend(found)
    return lists
