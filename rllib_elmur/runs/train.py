"""Trains the experiments of a file with Ray Tune."""

import json
import shlex
import shutil
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from rllib_elmur.errors import UserError
from rllib_elmur.files import schema
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.process import quiet
from rllib_elmur.plugin.rllib_internals import stored_run_config
from rllib_elmur.proof.callback import report_certified
from rllib_elmur.runs import cluster
from rllib_elmur.runs.options import TrainOptions
from rllib_elmur.runs.progress import Progress
from rllib_elmur.runs.restore import RestoreFrom


@dataclass
class Outcome:
    """How an experiment ended; `commands` are those to go on with, by what they do."""

    folder: Path
    checkpoints: list[Path] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


def train(file: Path, options: TrainOptions, console: Console) -> list[Outcome]:
    """Trains every experiment of a file, one after the other.

    Args:
        file: A YAML or a Python file (see `schema.load`).
        options: What the command line says; it has precedence over the file.
        console: Where the live lines go.

    Returns:
        An outcome per experiment that was begun.

    Raises:
        UserError: If the file, an option or a checkpoint cannot be used.
    """
    with quiet(options.verbose):
        experiments = schema.load(file, options.num_samples)
        for experiment in experiments:
            _apply(options, experiment)
        with cluster.started(
            options.ray_address, options.ray_num_cpus, options.ray_num_gpus, options.verbose
        ):
            return _run_all(experiments, file, options, console)


def _run_all(
    experiments: list[schema.Experiment], file: Path, options: TrainOptions, console: Console
) -> list[Outcome]:
    if not options.ray_address:
        for experiment in experiments:
            cluster.require_resources(experiment.trials[0].config, experiment.name)
    storage = (options.storage_path or Path("~/ray_results")).expanduser().resolve()
    outcomes = []
    for experiment in experiments:
        name = options.experiment_name
        if name and len(experiments) > 1:
            name = f"{name}-{experiment.name}"
        outcome = _run(experiment, options, storage, name, console)
        outcomes.append(outcome)
        if outcome.interrupted:
            name = options.experiment_name or outcome.folder.name
            outcome.commands["Go on"] = _resume_command(file, storage, name, options)
            break
    return outcomes


def _resume_command(file: Path, storage: Path, name: str, options: TrainOptions) -> str:
    words = ["rllib", "train", "file", file, "--storage-path", storage, "--experiment-name", name]
    if options.stop is not None:
        words += ["--stop", json.dumps(options.stop)]
    for option in ("ray_address", "ray_num_cpus", "ray_num_gpus"):
        if getattr(options, option) is not None:
            words += [f"--{option.replace('_', '-')}", getattr(options, option)]
    return shlex.join(map(str, [*words, "--resume"]))


def _apply(options: TrainOptions, experiment: schema.Experiment) -> None:
    """Lets the command line's options take precedence over the file's."""
    kept = experiment.checkpoints
    for trial in experiment.trials:
        if trial.config.restart_failed_env_runners is None:
            # On a cluster a lost node is business as usual; on one machine a runner dies of an
            # error in the environment or the module, again and again if it is restarted.
            trial.config.restart_failed_env_runners = bool(options.ray_address)
    if options.stop is not None:
        experiment.stop = schema.check_stop(options.stop, "--stop")
    if "certified" in experiment.stop:
        for trial in experiment.trials:
            report_certified(trial.config)
    if options.checkpoint_freq is not None:
        kept.checkpoint_frequency = options.checkpoint_freq
        kept.num_to_keep = None
    if options.checkpoint_at_end is not None:
        kept.checkpoint_at_end = options.checkpoint_at_end
    if options.keep_checkpoints_num is not None:
        kept.num_to_keep = options.keep_checkpoints_num
    if options.restore is not None:
        path = options.restore.expanduser().resolve()
        if not (path / "rllib_checkpoint.json").is_file():
            raise UserError(f"--restore {options.restore}: not a checkpoint of an algorithm.")
        for trial in experiment.trials:
            present = trial.config.callbacks_on_algorithm_init
            trial.config.callbacks(on_algorithm_init=_all(present, RestoreFrom(str(path))))


def _all(present: Any, added: Any) -> list[Any]:
    if present is None:
        return [added]
    return [*(present if isinstance(present, list) else [present]), added]


def _run(
    experiment: schema.Experiment,
    options: TrainOptions,
    storage: Path,
    name: str | None,
    console: Console,
) -> Outcome:
    labels = [trial.label for trial in experiment.trials]
    progress = Progress(console, experiment.stop, labels)
    algorithm = experiment.trials[0].config.algo_class
    assert algorithm is not None
    run_config = tune.RunConfig(
        name=name or f"{experiment.name}_{datetime.now():%Y-%m-%d_%H-%M-%S}",
        storage_path=str(storage),
        verbose=options.verbose,
        callbacks=[progress],
        stop=dict(experiment.stop),
        checkpoint_config=tune.CheckpointConfig(**experiment.checkpoints.model_dump()),
    )
    if options.resume:
        folder = _folder_to_resume(storage, name, experiment.name)
        tuner = tune.Tuner.restore(
            str(folder), trainable=algorithm, resume_unfinished=True, resume_errored=True
        )
        # The stored run config has the former process's callback; this process's sets the criteria.
        stored = stored_run_config(tuner)
        stored.callbacks, stored.verbose = run_config.callbacks, run_config.verbose
    else:
        folder = storage / str(run_config.name)
        if (folder / "tuner.pkl").exists():
            raise UserError(
                f"{folder} holds an experiment already: go on with --resume, or choose another "
                "--experiment-name."
            )
        tuner = tune.Tuner(
            algorithm,
            # One whole config per trial: class paths, module specs and options that depend on each
            # other are resolved and checked before anything starts.
            param_space={"grid_search": [trial.config.to_dict() for trial in experiment.trials]},
            tune_config=tune.TuneConfig(
                trial_name_creator=_trial_name, trial_dirname_creator=_trial_name
            ),
            run_config=run_config,
        )
    console.print(f"{experiment.name}: {_summary(experiment)}. Results: {folder}", soft_wrap=True)
    outcome = Outcome(folder)
    try:
        results = tuner.fit()
    except KeyboardInterrupt:
        progress.interrupted = True
    except (OSError, EOFError, json.JSONDecodeError) as error:
        # Tune's own files: it keeps them, and the error of a trial, in the folder.
        raise _unusable(folder, f"{type(error).__name__}: {error}") from error
    else:
        outcome.checkpoints = [
            _checkpoint(result, experiment.checkpoints) for result in results if result.checkpoint
        ]
        what = _summary(experiment)
        outcome.errors = [f"{what}: {cluster.cause_of(error)}" for error in results.errors]
    if outcome.checkpoints:
        outcome.commands["Evaluate"] = _evaluate_command(experiment, outcome.checkpoints)
    outcome.interrupted = progress.interrupted
    return outcome


def _unusable(folder: Path, why: str) -> UserError:
    """Says what to do where Tune cannot write or read its files."""
    what = f"{folder}: {why} ({shutil.disk_usage(folder).free:,} bytes are free there)."
    try:
        newest = checkpoints.find(folder)
    except UserError:
        return UserError(f"{what} It holds no whole checkpoint.")
    return UserError(
        f"{what} The newest whole checkpoint is {newest}; --restore {newest} begins with it."
    )


def _trial_name(trial: Any) -> str:
    return f"{trial.trainable_name}_{trial.trial_id.rsplit('_', 1)[-1]}"


def _folder_to_resume(storage: Path, name: str | None, experiment: str) -> Path:
    """The named experiment's folder, or the newest one of this experiment."""
    pattern = name or f"{experiment}_*"
    found = [path.parent for path in storage.glob(f"{pattern}/tuner.pkl")]
    if not found:
        raise UserError(f"--resume: no experiment {pattern!r} in {storage}.")
    folder = max(found, key=lambda path: path.stat().st_mtime)
    _put_broken_states_aside(folder)
    return folder


def _put_broken_states_aside(folder: Path) -> None:
    """Leaves Tune a whole state to resume from: it waits for ever on one that is cut short."""
    for path in sorted(folder.glob("experiment_state-*.json"), reverse=True):
        try:
            json.loads(path.read_text())
            return
        except ValueError:
            path.rename(path.with_suffix(".broken"))
    raise _unusable(folder, "no whole experiment_state-*.json")


def _summary(experiment: schema.Experiment) -> str:
    config = experiment.trials[0].config
    env = getattr(config.env, "__name__", config.env)
    algorithm = getattr(config.algo_class, "__name__", config.algo_class)
    number = len(experiment.trials)
    return f"{algorithm} on {env}" + (f", {number} trials" if number > 1 else "")


def _checkpoint(result: Any, options: schema.CheckpointOptions) -> Path:
    """A trial's best checkpoint if the file says what to score them by, else its last one."""
    best = None
    if options.checkpoint_score_attribute:
        best = result.get_best_checkpoint(
            options.checkpoint_score_attribute, options.checkpoint_score_order
        )
    return Path((best or result.checkpoint).path)


def _evaluate_command(experiment: schema.Experiment, checkpoints: list[Path]) -> str:
    words = ["rllib", "evaluate", *map(str, checkpoints)]
    if "corridor_length" in experiment.trials[0].config.env_config:
        words += ["--env-config", '{"corridor_length": [100, 1000, 10000]}']
    return shlex.join([*words, "--episodes", "32"])
