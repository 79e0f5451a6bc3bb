"""The `rllib` command: each verb parses, makes one call into `experiments`, prints."""

import inspect
import json
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from packaging.version import Version
from rich.console import Console

from rllib_elmur.experiments.former import refuse_former_arguments
from rllib_elmur.experiments.problems import UserError

_OLDEST_RAY = "2.50"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate RLlib algorithms from files.",
)
train_app = typer.Typer(no_args_is_help=True, help="Train an RLlib algorithm.")
example_app = typer.Typer(no_args_is_help=True, help="Tuned examples: list, get, run.")
app.add_typer(train_app, name="train")
app.add_typer(example_app, name="example")

_console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


def _json(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{text!r} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{text!r} must be a JSON object, such as '{{\"a\": 1}}'.")
    return value


Stop = Annotated[
    str | None,
    typer.Option(help="JSON of result names and numbers; replaces the file's criteria."),
]
CheckpointFreq = Annotated[
    int | None, typer.Option(min=0, help="Iterations between checkpoints; 0: none.")
]
CheckpointAtEnd = Annotated[
    bool | None,
    typer.Option(
        "--checkpoint-at-end/--no-checkpoint-at-end", help="Save a last checkpoint (default)."
    ),
]
KeepCheckpoints = Annotated[
    int | None, typer.Option(min=1, help="Number of checkpoints to keep of each trial.")
]
NumSamples = Annotated[int | None, typer.Option(min=1, help="Trials of each configuration.")]
StoragePath = Annotated[Path | None, typer.Option(help="Folder of results; ~/ray_results.")]
ExperimentName = Annotated[str | None, typer.Option(help="Name of the folder in it.")]
Restore = Annotated[Path | None, typer.Option(help="Begin with the state of this checkpoint.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an experiment that was interrupted.")
]
Verbose = Annotated[
    int, typer.Option("-v", "--verbose", count=True, help="More output; -vv: all of it.")
]
RayAddress = Annotated[str | None, typer.Option(help="Address of a running Ray cluster.")]
RayNumCpus = Annotated[int | None, typer.Option(min=1, help="CPUs to use on this machine.")]
RayNumGpus = Annotated[int | None, typer.Option(min=0, help="GPUs to use on this machine.")]


@train_app.command("file")
def train_file(
    file: Annotated[Path, typer.Argument(help="YAML, or Python that defines `config`.")],
    stop: Stop = None,
    checkpoint_freq: CheckpointFreq = None,
    checkpoint_at_end: CheckpointAtEnd = None,
    keep_checkpoints_num: KeepCheckpoints = None,
    num_samples: NumSamples = None,
    storage_path: StoragePath = None,
    experiment_name: ExperimentName = None,
    restore: Restore = None,
    resume: Resume = False,
    verbose: Verbose = 0,
    ray_address: RayAddress = None,
    ray_num_cpus: RayNumCpus = None,
    ray_num_gpus: RayNumGpus = None,
) -> None:
    """Train the experiments of a file."""
    from rllib_elmur.experiments.train import TrainOptions, train

    options = TrainOptions(
        stop=_json(stop),
        checkpoint_freq=checkpoint_freq,
        checkpoint_at_end=checkpoint_at_end,
        keep_checkpoints_num=keep_checkpoints_num,
        num_samples=num_samples,
        storage_path=storage_path,
        experiment_name=experiment_name,
        restore=restore,
        resume=resume,
        verbose=verbose,
        ray_address=ray_address,
        ray_num_cpus=ray_num_cpus,
        ray_num_gpus=ray_num_gpus,
    )
    failed = False
    for outcome in train(file, options, _console):
        failed |= bool(outcome.errors)
        for error in outcome.errors:
            _errors.print(f"[red]A trial failed:[/] {_escaped(error)}", soft_wrap=True)
        _console.print(f"\nResults:     {outcome.folder}", soft_wrap=True)
        _console.print(f"TensorBoard: tensorboard --logdir {outcome.folder}", soft_wrap=True)
        if outcome.evaluate_command:
            _print_command("Evaluate", outcome.evaluate_command)
        if outcome.resume_command:
            _print_command("Go on", outcome.resume_command)
            raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


@app.command("evaluate")
def evaluate_checkpoints(
    checkpoints: Annotated[
        list[Path], typer.Argument(help="Checkpoints, or folders of results (their newest).")
    ],
    env: Annotated[str | None, typer.Option(help="Another environment than in training.")] = None,
    env_config: Annotated[
        str | None,
        typer.Option(
            help="JSON of environment options; a list of corridor lengths is a list of rows."
        ),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="Episodes of a row; 32.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Play until so many steps, if no --episodes.")
    ] = None,
    render: Annotated[bool, typer.Option("--render", help="Show the episodes as text.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the table (.csv, .json) or a figure (.png).")
    ] = None,
) -> None:
    """Play whole episodes with trained policies, greedily."""
    from rllib_elmur.experiments import tables
    from rllib_elmur.experiments.evaluate import EvaluateOptions, evaluate

    if out is not None:
        tables.check_out(out)
    options = EvaluateOptions(env, _json(env_config), episodes, steps, render)
    rows = evaluate(checkpoints, options, _console)
    _console.print(tables.tables_of(rows))
    if out is not None:
        tables.write(rows, out)
        _console.print(f"Written: {out}", soft_wrap=True)


@app.command("certify")
def certify_checkpoints(
    checkpoints: Annotated[
        list[Path], typer.Argument(help="Checkpoints, or folders of results (their newest).")
    ],
    env: Annotated[str | None, typer.Option(help="Another environment than in training.")] = None,
    env_config: Annotated[str | None, typer.Option(help="JSON of environment options.")] = None,
    max_states: Annotated[
        int | None, typer.Option(min=1, help="Give up with more states than this; 20000.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the certificates to a .json.")] = None,
) -> None:
    """Prove that a policy acts right in every episode, however long, or show one in which not.

    Exit code 0: all are proven; 1: one is refuted; 2: one is undecided.
    """
    from rllib_elmur.experiments import tables
    from rllib_elmur.experiments.verdicts import CertifyOptions, certify_all

    if out is not None:
        tables.check_out(out, (".json",))
    options = CertifyOptions(env, _json(env_config), max_states)
    verdicts = certify_all(checkpoints, options, out, _console)
    raise typer.Exit(1 if "refuted" in verdicts else 2 if "undecided" in verdicts else 0)


@example_app.command("list")
def example_list() -> None:
    """List the tuned examples."""
    from rllib_elmur.experiments import examples

    for name, description in examples.descriptions().items():
        _console.print(f"{name:<24} {description}", soft_wrap=True, markup=False)


@example_app.command("get")
def example_get(
    name: Annotated[str, typer.Argument(help="Name of the example.")],
    out: Annotated[Path | None, typer.Option(help="File to write it to.")] = None,
) -> None:
    """Print a tuned example, or write it to a file."""
    from rllib_elmur.experiments import examples

    text = examples.path_of(name).read_text(encoding="utf-8")
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


def example_run(name: str, **options: Any) -> None:
    """Train a tuned example."""
    from rllib_elmur.experiments import examples

    train_file(examples.path_of(name), **options)


def _with_options_of(command: Callable[..., None], function: Callable[..., None]) -> None:
    """Gives `function` the options of `command`, which are written once; it keeps its argument."""
    name = inspect.Parameter(
        "name",
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        annotation=Annotated[str, typer.Argument(help="Name of the example.")],
    )
    options = list(inspect.signature(command).parameters.values())[1:]
    function.__signature__ = inspect.Signature([name, *options])  # ty: ignore[missing-attribute]
    function.__annotations__ = {p.name: p.annotation for p in (name, *options)}


_with_options_of(train_file, example_run)
example_app.command("run")(example_run)


def _print_command(title: str, command: str) -> None:
    _console.print(f"{title + ':':<12} {command}", soft_wrap=True, markup=False)


def _require_ray() -> None:
    try:
        found = version("ray")
    except PackageNotFoundError:
        raise UserError(f"Ray is not installed; needed: ray[rllib] >= {_OLDEST_RAY}.") from None
    if Version(found) < Version(_OLDEST_RAY):
        raise UserError(
            f"Ray {found} is too old: this command needs ray[rllib] >= {_OLDEST_RAY}. Older "
            "versions install a command of the same name; whichever is installed last wins."
        )


def main() -> None:
    """Runs the command line; what the user can mend is one message and exit code 1."""
    try:
        _require_ray()
        # As with `python -m`: import paths may name modules of the folder one works in.
        sys.path.insert(0, str(Path.cwd()))
        refuse_former_arguments(sys.argv[1:])
        app()
    except KeyboardInterrupt:
        _errors.print("Interrupted.")
        raise SystemExit(130) from None
    except UserError as error:
        _errors.print(f"[red]Error:[/] {_escaped(error)}", soft_wrap=True)
        raise SystemExit(1) from None


def _escaped(error: Exception | str) -> str:
    from rich.markup import escape

    return escape(str(error))
