"""The `rllib` command: each verb parses, makes one call, prints."""

import json
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from rllib_elmur.cli import flags
from rllib_elmur.cli.former_arguments import refuse_former_arguments
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.ray_versions import require_ray
from rllib_elmur.runs.options import TrainOptions

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train_app = typer.Typer(no_args_is_help=True, help="Train an RLlib algorithm.")
example_app = typer.Typer(no_args_is_help=True, help="Tuned examples: list, get, run.")
app.add_typer(train_app, name="train")
app.add_typer(example_app, name="example")

_console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


@app.callback()
def rllib(version: flags.Version = False) -> None:
    """Train and evaluate RLlib algorithms from files."""


@train_app.command("file")
@flags.takes(TrainOptions)
def train_file(file: flags.File, options: TrainOptions) -> None:
    """Train the experiments of a file."""
    _train(file, ["file", file.absolute()], options)


@train_app.callback(invoke_without_command=True)
@flags.takes(flags.RunFlags)
def train_run(context: typer.Context, options: flags.RunFlags) -> None:
    """Train an RLlib algorithm: of a file, or one that is named with --run."""
    if context.invoked_subcommand is not None:
        return
    if options.run is None:
        raise UserError("--run: name an algorithm, such as PPO, or use `rllib train file FILE`.")
    experiment = {"run": options.run, "config": options.config or {}}
    words: list[Any] = ["--run", options.run]
    if options.env is not None:
        experiment["env"] = options.env
        words += ["--env", options.env]
    if options.config:
        words += ["--config", json.dumps(options.config)]
    _train(experiment, words, options)


def _train(what: Path | dict[str, Any], words: list[Any], options: TrainOptions) -> None:
    from rllib_elmur.cli.commands import commands_after
    from rllib_elmur.cli.lines import Lines
    from rllib_elmur.runs.train import train

    results = train(what, options, Lines(_console))
    for result in results:
        for error in result.errors:
            _errors.print(f"[red]A trial failed:[/] {_escaped(error)}", soft_wrap=True)
        _console.print(f"\nResults:     {result.folder}", soft_wrap=True)
        for title, command in commands_after(words, options, result).items():
            _console.print(f"{title + ':':<12} {command}", soft_wrap=True, markup=False)
    if any(result.interrupted for result in results):
        raise typer.Exit(130)
    if any(result.errors for result in results):
        raise typer.Exit(1)


@app.command("evaluate")
@flags.takes(flags.EvaluateFlags)
def evaluate_checkpoints(checkpoints: flags.Checkpoints, options: flags.EvaluateFlags) -> None:
    """Play episodes with trained policies, greedily unless told to explore."""
    from rllib_elmur.cli import tables
    from rllib_elmur.cli.progress_bar import EpisodesBar
    from rllib_elmur.runs.evaluate import Interrupted, evaluate

    if options.out is not None:
        tables.check_out(options.out)
    interrupted = False
    with EpisodesBar(_console) as bar:
        try:
            rows = evaluate(checkpoints, options, bar.show)
        except Interrupted as stopped:
            rows, interrupted = stopped.rows, True
    if rows:
        _console.print(tables.tables_of(rows))
        note = tables.note_on_unfinished(rows, options.max_episode_steps)
        if note is not None:
            _console.print(note, style="yellow", soft_wrap=True)
    if rows and options.out is not None:
        tables.write(rows, options.out)
        _console.print(f"Written: {options.out}", soft_wrap=True)
    if rows and options.video is not None:
        _console.print(f"Videos: {options.video}", soft_wrap=True)
    if interrupted:
        raise KeyboardInterrupt


@app.command("certify")
@flags.takes(flags.CertifyFlags)
def certify_checkpoints(checkpoints: flags.Checkpoints, options: flags.CertifyFlags) -> None:
    """Prove that policies act correctly in every episode, however long, or show where one does not.

    Exit code 0: all are proven; 1: one is refuted; 2: one is undecided.
    """
    from rllib_elmur.cli.verdicts import certify_all

    verdicts = certify_all(checkpoints, options, _console)
    raise typer.Exit(1 if "refuted" in verdicts else 2 if "undecided" in verdicts else 0)


@app.command("report")
@flags.takes(flags.ReportFlags)
def report_checkpoint(checkpoint: flags.Checkpoint, options: flags.ReportFlags) -> None:
    """Draw what a policy remembers, and for how long."""
    from rllib_elmur.cli import tables
    from rllib_elmur.cli.progress_bar import EpisodesBar
    from rllib_elmur.cli.verdicts import described_by
    from rllib_elmur.report.report import report

    tables.check_out(options.out, (".png",))
    task = described_by(options.task)
    with EpisodesBar(_console) as bar:
        files = report(checkpoint, options.out, options.segments, bar.show, task)
    for file in files:
        _console.print(f"Written: {file}", soft_wrap=True)


@example_app.command("list")
def example_list() -> None:
    """List the tuned examples."""
    from rllib_elmur.cli import examples

    for name, description in examples.descriptions().items():
        _console.print(f"{name:<24} {description}", soft_wrap=True, markup=False)


@example_app.command("get")
def example_get(name: flags.Name, out: flags.NewFile = None) -> None:
    """Print a tuned example, or write it to a file."""
    from rllib_elmur.cli import examples

    text = examples.path_of(name).read_text(encoding="utf-8")
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


@example_app.command("run")
@flags.takes(TrainOptions)
def example_run(name: flags.Name, options: TrainOptions) -> None:
    """Train a tuned example."""
    from rllib_elmur.cli import examples

    file = examples.path_of(name)
    _train(file, ["file", file], options)


def _require_ray() -> None:
    try:
        require_ray()
    except ModuleNotFoundError as error:
        raise UserError(str(error)) from error
    except ImportError as error:
        raise UserError(
            f"{error} Older versions of Ray install a command of the same name; whichever is "
            "installed last wins."
        ) from error


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
