"""Env runners that are killed: training goes on, and no episode goes on with another's memory."""

import os
import signal
import time

import numpy as np
import pytest
import torch
from plugin_helpers import SMALL, learner_module, train_batch
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns

import rllib_elmur

MAZE = {"corridor_length": [3, 9], "slack": 2.0}
KILLS = {"PPO": 1, "IMPALA": 2}  # the second one is of a runner that was made anew


def build(name):
    config = PPOConfig() if name == "PPO" else IMPALAConfig()
    config.environment("rllib_elmur/TMazePassive-v0", env_config=MAZE)
    config.env_runners(num_env_runners=1, num_envs_per_env_runner=2, rollout_fragment_length=10)
    config.learners(num_learners=0)
    config.training(train_batch_size_per_learner=60, lr=1e-3)
    if name == "PPO":
        config.training(minibatch_size=30, num_epochs=1)
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=60)
    config.debugging(log_level="ERROR")
    return rllib_elmur.use_elmur(config, **SMALL).build_algo()


def pids(algo):
    return algo.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )


def steps(algo):
    return algo.train().get("num_env_steps_sampled_lifetime", 0)


@pytest.mark.parametrize("name", ["PPO", "IMPALA"])
def test_training_survives_the_death_of_its_env_runner(name, ray_is_quiet):
    algo = build(name)
    for _ in range(KILLS[name]):
        (pid,) = pids(algo)
        os.kill(pid, signal.SIGKILL)
        begin, deadline = steps(algo), time.monotonic() + 120
        while steps(algo) <= begin or pids(algo) in ([], [pid]):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    # What the new runner sends begins with fresh states and goes on where it stopped.
    module, seen = learner_module(algo), {}
    weights = module.get_state(inference_only=True)
    for _ in range(4):
        (episodes,) = algo.env_runner_group.foreach_env_runner(
            lambda runner, state=weights: (
                setattr(runner, "_env_runner_state_server", None),  # IMPALA's source of weights
                runner.module.set_state(state),
                runner.sample(num_timesteps=26, force_reset=False),
            )[2],
            local_env_runner=False,
        )
        fragments = [(e.id_, e.t_started, np.array(e.get_observations())) for e in episodes]
        logits = [np.array(e.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS)) for e in episodes]
        batch = train_batch(algo, episodes)
        assert batch[Columns.LOSS_MASK].sum() == sum(map(len, logits))  # nothing was masked
        for (id_, start, observations), expected in zip(fragments, logits, strict=True):
            before = seen.get(id_, observations[:0])
            assert len(before) == start or (start > 0 and id_ not in seen)
            if len(before) != start:
                continue  # begun before the weights were fixed
            seen[id_] = np.concatenate([before, observations[:-1]])
            state = {name: part[None] for name, part in module.get_initial_state().items()}
            with torch.no_grad():
                made = module.forward_train(
                    {Columns.OBS: torch.from_numpy(seen[id_])[None], Columns.STATE_IN: state}
                )[Columns.ACTION_DIST_INPUTS][0, start:]
            assert np.abs(made.numpy() - expected).max() < 1e-4
    assert len(seen) > 4
    algo.stop()
