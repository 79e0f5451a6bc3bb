"""Times tasks of the installed `rllib_elmur`, a run at a time: one side of `against_commit.py`.

It knows no names but those that RLlib calls, so that it runs on any commit of the package. On
standard input it takes `prepare NAME` and `run`, and answers each in one line on standard output:
`ready`, or seconds.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_elmur

# Short runs, so that the two sides that take turns meet the same machine.
STEPS = 50  # of a module
TRAIN_BATCH = 1000


def sampling(n_layers: int, n_envs: int) -> Callable[[], Any]:
    """Env steps of an env runner."""
    return partial(_runner(n_layers, n_envs).sample, num_timesteps=64 * n_envs)


def step(n_layers: int, n_envs: int) -> Callable[[], Any]:
    """Steps of the module through its live batch, on what its env runner hands to it."""
    runner, batches = _runner(n_layers, n_envs), []
    module = runner.module
    module.forward_exploration = lambda batch, **_: batches.append(batch) or forward(batch)
    forward = type(module).forward_exploration.__get__(module)
    runner.sample(num_timesteps=128 * n_envs)  # now rows finish their segments at different times
    del module.forward_exploration

    def run() -> None:
        with torch.no_grad():
            for _ in range(STEPS):
                module.forward_exploration(batches[-1])

    return run


def update(n_layers: int) -> Callable[[], Any]:
    """A PPO update: a train batch of 1,000 env steps, six epochs, connectors and all."""
    runner, config = _runner(n_layers, 16), _config(n_layers, 16)
    group = config.build_learner_group(env=runner.env)
    # Connectors change episodes: each update gets its own.
    episodes = cloudpickle.dumps(runner.sample(num_timesteps=TRAIN_BATCH))
    return lambda: group.update(
        episodes=cloudpickle.loads(episodes), num_epochs=6, minibatch_size=TRAIN_BATCH
    )


TASKS: dict[str, Callable[[], Callable[[], Any]]] = {
    f"{name}, n={n_layers}{what.format(n_envs)}": partial(make, n_layers, n_envs)
    for name, make, what in (("sampling", sampling, ", {} envs"), ("module step", step, ", B={}"))
    for n_layers in (1, 2)
    for n_envs in (16, 64)
} | {f"update, n={n_layers}": partial(update, n_layers) for n_layers in (1, 2)}


def _config(n_layers: int, n_envs: int) -> PPOConfig:
    env_config = {"corridor_length": [3, 30], "penalty_rule": "standing_still"}
    config = PPOConfig().environment("rllib_elmur/TMazePassive-v0", env_config=env_config)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=n_envs)
    config.env_runners(gym_env_vectorize_mode="vector_entry_point")
    config.learners(num_learners=0)
    config.training(
        train_batch_size_per_learner=TRAIN_BATCH,
        minibatch_size=TRAIN_BATCH,
        num_epochs=6,
        lr=3e-4,
        grad_clip=0.5,
        entropy_coeff=0.01,
        vf_clip_param=1e6,
        use_kl_loss=False,
    )
    config.debugging(seed=0)
    sizes = getattr(rllib_elmur, "PAPER", {})  # once the defaults
    options = {**sizes, "n_layers": n_layers, "memory_levels": 2, "max_seq_len": 35}
    return rllib_elmur.use_elmur(config, **options)


def _runner(n_layers: int, n_envs: int) -> Any:
    config = _config(n_layers, n_envs)
    assert config.env_runner_cls is not None
    return config.env_runner_cls(config=config, worker_index=0, num_workers=0)


def main() -> None:
    """Answers the commands on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Ray prints is no answer
    torch.set_num_threads(1)
    print(Path(rllib_elmur.__file__).parents[1], *TASKS, sep="\t", file=answers)
    task: Callable[[], Any] = TASKS.clear
    for command in sys.stdin:
        if command.startswith("prepare "):
            torch.manual_seed(0)
            np.random.seed(0)
            task = TASKS[command.removeprefix("prepare ").strip()]()
            task()  # a round that does not count
            print("ready", file=answers)
        else:
            begin = time.perf_counter()
            task()
            print(time.perf_counter() - begin, file=answers)


if __name__ == "__main__":
    main()
