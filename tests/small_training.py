"""A training of the T-Maze that takes seconds, its checkpoint, and the command in a process."""

import os
import subprocess
import sys

SMALL = """
maze:
  run: PPO
  env: rllib_elmur/TMazePassive-v0
  stop: {training_iteration: 2}
  config:
    env_config: {corridor_length: 3, slack: 2.0}
    evaluation_config:
      env_config: {slack: 1.0}
    lr: 1e-4
    num_env_runners: 0
    train_batch_size_per_learner: 200
    minibatch_size: 100
    num_epochs: 1
    rl_module_spec:
      module_class: rllib_elmur.ELMURTorchRLModule
      model_config:
        d_model: 16
        n_layers: 1
        max_seq_len: 10
"""

# One that can be certified.
ROUNDED = SMALL.replace(
    "        max_seq_len: 10\n",
    """        max_seq_len: 10
        segment_length: 5
        memory_slots: 2
        attention_window: null
        write_before_read: false
        memory_levels: 2
""",
)


def untrained_checkpoint(file):
    """A checkpoint, beside a file, of what the file trains; Ray is then as it was before."""
    import quiet_ray
    import ray

    from rllib_elmur.files.schema import load

    (experiment,) = load(file)
    ours = not ray.is_initialized()
    if ours:
        quiet_ray.start(num_cpus=1)
    algo = experiment.trials[0].config.build_algo()
    path = file.parent / "checkpoint_000000"
    algo.save_to_path(str(path))
    algo.stop()
    if ours:
        ray.shutdown()
    return path


def start(*arguments, python=("-m", "rllib_elmur"), **options):
    """Starts `rllib`; the process leads a group of its own, as in a terminal."""
    command = [sys.executable, *python, *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200"},
        **options,
    )
