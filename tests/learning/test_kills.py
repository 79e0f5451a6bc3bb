"""Trainings whose env runners are killed succeed all the same. Run with ``pytest -m learning``."""

import os
import signal

import numpy as np
import pytest

from rllib_elmur.cli.examples import path_of
from rllib_elmur.files import schema

pytestmark = pytest.mark.learning

KILLS, EVERY, LIMIT = 5, 15_000, 400_000  # env steps
RUNNERS = {
    "tmaze-ppo": {"num_env_runners": 2, "num_envs_per_env_runner": 8},
    "tmaze-impala": {"num_env_runners": 2, "num_envs_per_env_runner": 2},
}


@pytest.mark.parametrize("name", RUNNERS)
def test_success_comes_though_env_runners_are_killed(name, ray_is_quiet):
    (experiment,) = schema.load(path_of(name))
    config = experiment.trials[0].config
    config.env_runners(**RUNNERS[name]).fault_tolerance(restart_failed_env_runners=True)
    algo = config.build_algo()
    random, killed, success, restarts, steps = np.random.default_rng(0), 0, [], 0, 0
    while steps < LIMIT and not (killed == KILLS and np.nanmedian(success[-5:]) >= 0.99):
        result = algo.train()
        steps = result.get("num_env_steps_sampled_lifetime", 0)
        success.append(result["env_runners"].get("success", np.nan))
        restarts = result["fault_tolerance"]["num_remote_worker_restarts"]
        if killed < KILLS and steps >= (killed + 1) * EVERY:
            pids = algo.env_runner_group.foreach_env_runner(
                lambda runner: os.getpid(), local_env_runner=False, timeout_seconds=30
            )
            if pids:
                os.kill(int(random.choice(pids)), signal.SIGKILL)
                killed += 1
    algo.stop()
    assert killed == KILLS and restarts == KILLS
    assert np.nanmedian(success[-5:]) >= 0.99, success
