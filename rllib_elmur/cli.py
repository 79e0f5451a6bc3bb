"""The `rllib` command: each verb parses, makes one call into `experiments`, prints."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from packaging.version import Version
from rich.console import Console

from rllib_elmur.experiments.problems import UserError

_OLDEST_RAY = "2.42"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate RLlib algorithms from files.",
)
train_app = typer.Typer(no_args_is_help=True, help="Train an RLlib algorithm.")
app.add_typer(train_app, name="train")

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


def _former(instead: str) -> Any:
    """An option of the former command that has no meaning today and says so."""

    def refuse(value: str | bool | None) -> None:
        if value:
            raise typer.BadParameter(f"this option of the former command is gone: {instead}")

    return refuse


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
Framework = Annotated[
    str | None,
    typer.Option(
        hidden=True, callback=_former("RLlib's new API stack is PyTorch only; leave it out.")
    ),
]
Trace = Annotated[
    bool,
    typer.Option(
        "--trace",
        hidden=True,
        callback=_former("eager tracing was TensorFlow's; leave it out."),
    ),
]
LocalDir = Annotated[str | None, typer.Option(hidden=True, callback=_former("use --storage-path."))]


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
    framework: Framework = None,
    trace: Trace = False,
    local_dir: LocalDir = None,
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
            _errors.print(f"[red]A trial failed:[/] {error}", soft_wrap=True)
        _console.print(f"\nResults:     {outcome.folder}", soft_wrap=True)
        _console.print(f"TensorBoard: tensorboard --logdir {outcome.folder}", soft_wrap=True)
        if outcome.evaluate_command:
            _print_command("Evaluate", outcome.evaluate_command)
        if outcome.resume_command:
            _print_command("Go on", outcome.resume_command)
            raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


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
        app()
    except UserError as error:
        _errors.print(f"[red]Error:[/] {_escaped(error)}", soft_wrap=True)
        raise SystemExit(1) from None


def _escaped(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error))
