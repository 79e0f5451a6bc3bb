"""What the options of a training change in the experiments of its file."""

from rllib_elmur.errors import UserError
from rllib_elmur.files.schema import Experiment, read_stop
from rllib_elmur.proof.callback import report_certified
from rllib_elmur.runs.options import TrainOptions
from rllib_elmur.runs.restore import begin_with


def override(experiment: Experiment, options: TrainOptions) -> None:
    """Lets the options take precedence over the file.

    Raises:
        UserError: If an option cannot be used.
    """
    configs = [trial.config for trial in experiment.trials]
    for config in configs:
        if config.restart_failed_env_runners is None:
            # On a cluster a lost node is business as usual; on one machine a runner dies of an
            # error in the environment or the module, again and again if it is restarted.
            config.restart_failed_env_runners = bool(options.ray_address)
    if options.stop is not None:
        experiment.stop, problems = read_stop(options.stop)
        if problems:
            raise UserError("\n".join(f"--stop: {message}" for _, message in problems))
    if "certified" in experiment.stop:
        for config in configs:
            report_certified(config, experiment.task)
    kept = experiment.checkpoints
    if options.checkpoint_freq is not None:
        kept.checkpoint_frequency = options.checkpoint_freq
        kept.num_to_keep = None
    if options.checkpoint_at_end is not None:
        kept.checkpoint_at_end = options.checkpoint_at_end
    if options.keep_checkpoints_num is not None:
        kept.num_to_keep = options.keep_checkpoints_num
    if options.restore is not None:
        for config in configs:
            begin_with(options.restore, config)
