"""What the command line says about each verb: the options, written once."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{text!r} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{text!r} must be a JSON object, such as '{{\"a\": 1}}'.")
    return value


def _json(help: str) -> Any:
    return typer.Option(parser=_object, metavar="JSON", help=help)


Json = dict[str, Any] | None
Count = int | None


@dataclass
class TrainOptions:
    """Options of a training; they have precedence over the file."""

    stop: Annotated[Json, _json("Result names and numbers; replaces the file's criteria.")] = None
    checkpoint_freq: Annotated[
        Count, typer.Option(min=0, help="Iterations between checkpoints; 0: none.")
    ] = None
    checkpoint_at_end: Annotated[
        bool | None,
        typer.Option(
            "--checkpoint-at-end/--no-checkpoint-at-end", help="Save a last checkpoint (default)."
        ),
    ] = None
    keep_checkpoints_num: Annotated[
        Count, typer.Option(min=1, help="Number of checkpoints to keep of each trial.")
    ] = None
    num_samples: Annotated[Count, typer.Option(min=1, help="Trials of each configuration.")] = None
    storage_path: Annotated[Path | None, typer.Option(help="Folder of results; ~/ray_results.")] = (
        None
    )
    experiment_name: Annotated[str | None, typer.Option(help="Name of the folder in it.")] = None
    restore: Annotated[
        Path | None, typer.Option(help="Begin with the state of this checkpoint.")
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an experiment that was interrupted.")
    ] = False
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="More output; -vv: all of it.")
    ] = 0
    ray_address: Annotated[str | None, typer.Option(help="Address of a running Ray cluster.")] = (
        None
    )
    ray_num_cpus: Annotated[Count, typer.Option(min=1, help="CPUs to use on this machine.")] = None
    ray_num_gpus: Annotated[Count, typer.Option(min=0, help="GPUs to use on this machine.")] = None


@dataclass
class EvaluateOptions:
    """Options of an evaluation."""

    env: Annotated[str | None, typer.Option(help="Another environment than in training.")] = None
    env_config: Annotated[
        Json, _json("Environment options; a list of corridor lengths is a list of rows.")
    ] = None
    episodes: Annotated[Count, typer.Option(min=1, help="Episodes of a row; 32.")] = None
    steps: Annotated[
        Count, typer.Option(min=1, help="Play until so many steps, if no --episodes.")
    ] = None
    render: Annotated[bool, typer.Option("--render", help="Show the episodes as text.")] = False
    out: Annotated[
        Path | None, typer.Option(help="Write the table (.csv, .json) or a figure (.png).")
    ] = None


@dataclass
class CertifyOptions:
    """Options of a certificate."""

    env: Annotated[str | None, typer.Option(help="Another environment than in training.")] = None
    env_config: Annotated[Json, _json("Environment options.")] = None
    max_states: Annotated[int, typer.Option(min=1, help="Give up with more states than this.")] = (
        20_000
    )
    out: Annotated[Path | None, typer.Option(help="Write the certificates (.json).")] = None


@dataclass
class ReportOptions:
    """Options of a report."""

    segments: Annotated[
        int, typer.Option(min=1, help="Segments over which the hints are kept apart.")
    ] = 10_000
    out: Annotated[
        Path | None, typer.Option(help="Picture (.png); report.png. The CSV stands beside it.")
    ] = None


def takes(options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A verb that is called with an object of `options` gets these as its flags."""
    hints = get_type_hints(options, include_extras=True)
    flags = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)
    ]

    def with_flags(verb: Callable[..., None]) -> Callable[..., None]:
        @wraps(verb)
        def called(*arguments: Any, **given: Any) -> None:
            names = [flag.name for flag in flags]
            own = {name: given.pop(name) for name in list(given) if name not in names}
            verb(*arguments, **own, options=options(**given))

        parameters = list(inspect.signature(verb).parameters.values())
        kept = [parameter for parameter in parameters if parameter.name != "options"]
        called.__signature__ = inspect.Signature([*kept, *flags])  # ty: ignore[missing-attribute]
        called.__annotations__ = {p.name: p.annotation for p in (*kept, *flags)}
        return called

    return with_flags
