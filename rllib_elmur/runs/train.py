"""Trains the experiments of a file with Ray Tune."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ray import tune

from rllib_elmur.errors import UserError
from rllib_elmur.files import schema
from rllib_elmur.plugin import env_registrations, import_paths
from rllib_elmur.plugin.process import quiet
from rllib_elmur.plugin.ray_files import holds_experiment, number_of
from rllib_elmur.plugin.review import missing_kl_loss_in, short_sequences_in, what_is_off
from rllib_elmur.plugin.rllib_internals import stored_run_config
from rllib_elmur.runs import cluster
from rllib_elmur.runs.options import TrainOptions
from rllib_elmur.runs.overrides import override
from rllib_elmur.runs.progress import Listener, Progress
from rllib_elmur.runs.resume import folder_to_resume, unusable


@dataclass
class ExperimentResult:
    """How an experiment ended.

    Attributes:
        folder: Where its results are.
        checkpoints: One of each trial that has any.
        errors: What trials failed with.
        interrupted: Whether it was stopped by Ctrl-C.
    """

    folder: Path
    checkpoints: list[Path] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    interrupted: bool = False


def train(
    file: Path | dict[str, Any],
    options: TrainOptions | None = None,
    listener: Listener | None = None,
) -> list[ExperimentResult]:
    """Trains every experiment of a file, one after the other.

    Args:
        file: A YAML or a Python file, or one experiment (see `schema.load`).
        options: They have precedence over the file.
        listener: Hears of each iteration.

    Returns:
        A result for each experiment that was begun.

    Raises:
        UserError: If the file, an option or a checkpoint cannot be used.
    """
    options, listener = options or TrainOptions(), listener or Listener()
    if options.resume and options.experiment_name:
        import_paths.add_those_of(_storage(options) / options.experiment_name)
    with quiet(options.verbose):
        experiments = schema.load(file, options.num_samples)
        for experiment in experiments:
            override(experiment, options)
        with cluster.started(
            options.ray_address, options.ray_num_cpus, options.ray_num_gpus, options.verbose
        ):
            return _run_all(experiments, options, listener)


def _storage(options: TrainOptions) -> Path:
    return options.storage_path.expanduser().resolve()


def _run_all(
    experiments: list[schema.Experiment], options: TrainOptions, listener: Listener
) -> list[ExperimentResult]:
    if not options.ray_address:
        for experiment in experiments:
            cluster.require_resources(experiment.trials[0].config, experiment.name)
    results = []
    for experiment in experiments:
        name = options.experiment_name
        if name and len(experiments) > 1:
            name = f"{name}-{experiment.name}"
        results.append(_run(experiment, options, name, listener))
        if results[-1].interrupted:
            break
    return results


def _run(
    experiment: schema.Experiment, options: TrainOptions, name: str | None, listener: Listener
) -> ExperimentResult:
    storage = _storage(options)
    labels = [trial.label for trial in experiment.trials]
    progress = Progress(listener, experiment.stop, labels)
    if options.resume:
        folder = folder_to_resume(storage, name, experiment.name)
        tuner = _resumed(experiment, folder, progress, options.verbose)
    else:
        folder = storage / (name or f"{experiment.name}_{datetime.now():%Y-%m-%d_%H-%M-%S}")
        tuner = _begun(experiment, folder, progress, options.verbose)
    listener.on_begin(experiment.name, _summary(experiment), folder)
    configs = [trial.config for trial in experiment.trials]
    notes = [
        what_is_off(configs[0]),
        *map(short_sequences_in, configs),
        *map(missing_kl_loss_in, configs),
    ]
    for note in dict.fromkeys(filter(None, notes)):
        listener.on_note(note)
    return _fit(tuner, experiment, folder, progress)


def _begun(
    experiment: schema.Experiment, folder: Path, progress: Progress, verbose: int
) -> tune.Tuner:
    if holds_experiment(folder):
        raise UserError(
            f"{folder} holds an experiment already: go on with --resume, or choose another "
            "--experiment-name."
        )
    return tune.Tuner(
        _algorithm(experiment),
        # One whole config per trial: class paths, module specs and options that depend on each
        # other are resolved and checked before anything starts.
        param_space={"grid_search": [trial.config.to_dict() for trial in experiment.trials]},
        tune_config=tune.TuneConfig(
            trial_name_creator=_trial_name, trial_dirname_creator=_trial_name
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            verbose=verbose,
            callbacks=[progress],
            stop=dict(experiment.stop),
            checkpoint_config=tune.CheckpointConfig(**experiment.checkpoints.model_dump()),
        ),
    )


def _resumed(
    experiment: schema.Experiment, folder: Path, progress: Progress, verbose: int
) -> tune.Tuner:
    tuner = tune.Tuner.restore(
        str(folder),
        trainable=_algorithm(experiment),
        resume_unfinished=True,
        resume_errored=True,
    )
    # The stored run config has the former process's callback; this process's sets the criteria.
    stored = stored_run_config(tuner)
    stored.callbacks, stored.verbose = [progress], verbose
    return tuner


def _fit(
    tuner: tune.Tuner, experiment: schema.Experiment, folder: Path, progress: Progress
) -> ExperimentResult:
    result = ExperimentResult(folder)
    try:
        import_paths.note_in(folder)
        env_registrations.note_in(folder, experiment.trials[0].config.env)
        trials = tuner.fit()
    except KeyboardInterrupt:
        result.interrupted = True
        return result
    except (OSError, EOFError, json.JSONDecodeError) as error:
        # Tune's own files: Tune keeps them, and the error of a trial, in the folder.
        raise unusable(folder, f"{type(error).__name__}: {error}") from error
    finally:
        progress.end()
    result.checkpoints = [
        _checkpoint(trial, experiment.checkpoints) for trial in trials if trial.checkpoint
    ]
    what = _summary(experiment)
    result.errors = [f"{what}: {cluster.cause_of(error)}" for error in trials.errors]
    result.interrupted = progress.interrupted
    return result


def _algorithm(experiment: schema.Experiment) -> type:
    algorithm = experiment.trials[0].config.algo_class
    assert algorithm is not None
    return algorithm


def _trial_name(trial: Any) -> str:
    return f"{trial.trainable_name}_{number_of(trial)}"


def _summary(experiment: schema.Experiment) -> str:
    config = experiment.trials[0].config
    env = getattr(config.env, "__name__", config.env)
    algorithm = getattr(config.algo_class, "__name__", config.algo_class)
    number = len(experiment.trials)
    return f"{algorithm} on {env}" + (f", {number} trials" if number > 1 else "")


def _checkpoint(trial: Any, options: schema.CheckpointOptions) -> Path:
    """A trial's best checkpoint if the file says what to score them by, else its last one."""
    best = None
    if options.checkpoint_score_attribute:
        best = trial.get_best_checkpoint(
            options.checkpoint_score_attribute, options.checkpoint_score_order
        )
    return Path((best or trial.checkpoint).path)
