"""An evaluation ends though the environment does not, and says what was left unfinished."""

import json
import os
import signal
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import rllib_elmur
from rllib_elmur.runs.evaluate import Interrupted, evaluate
from rllib_elmur.runs.options import EvaluateOptions


class Endless(gym.Env):
    """Goes on for ever, or until `length`; each step pays 1."""

    observation_space = Box(-1.0, 1.0, (1,))
    action_space = Discrete(2)

    def __init__(self, config=None):
        self.length = (config or {}).get("length", 10**9)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.end = 0, self.length
        if self.length < 0:  # every other episode is endless
            self.end = 5 if seed is None or seed % 2 else 10**9
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(1, np.float32), 1.0, self.time >= self.end, False, {"success": True}


@pytest.fixture(scope="module")
def checkpoint_of_endless(tmp_path_factory):
    """A policy for it that has learned nothing."""
    from ray.rllib.algorithms.ppo import PPOConfig

    config = PPOConfig().environment(Endless, env_config={"length": 10**9})
    config.env_runners(num_env_runners=0).debugging(log_level="ERROR")
    small = {"d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": 1, "max_seq_len": 10}
    algo = rllib_elmur.use_elmur(config, **small).build_algo()
    path = tmp_path_factory.mktemp("endless") / "policy"
    algo.save_to_path(str(path))
    algo.stop()
    return path


def test_steps_bound_the_env_steps(checkpoint_of_endless):
    [row] = evaluate([checkpoint_of_endless], EvaluateOptions(steps=500))
    assert (row.episodes, row.unfinished) == (0, 1)
    assert row.episode_return is None and row.success is None
    assert row.unfinished_return == row.unfinished_length == 500
    options = EvaluateOptions(steps=500, env_config={"length": 30})
    [row] = evaluate([checkpoint_of_endless], options)
    assert (row.episodes, row.unfinished) == (16, 1)
    assert row.episode_return == row.episode_length == 30 and row.unfinished_length == 20
    [row] = evaluate([checkpoint_of_endless], EvaluateOptions(steps=64_000, episodes=64))
    assert row.unfinished == 64 and row.unfinished_length == 1_000


def test_an_episode_is_left_after_so_many_steps(checkpoint_of_endless):
    options = EvaluateOptions(episodes=6, max_episode_steps=50, env_config={"length": -1})
    [row] = evaluate([checkpoint_of_endless], options)
    assert (row.episodes, row.unfinished) == (3, 3)
    assert row.episode_length == 5 and row.unfinished_length == 50 and row.success == 1.0


def test_the_command_names_unfinished_episodes_and_the_option(
    checkpoint_of_endless, rllib, tmp_path
):
    out = tmp_path / "rows.json"
    limits = ("--episodes", 2, "--max-episode-steps", 40, "--out", out)
    code, output = rllib("evaluate", checkpoint_of_endless, *limits)
    assert code == 0 and "unfinished" in output
    assert "2 episodes had not ended after 40 steps" in output
    assert "--max-episode-steps N" in output
    [row] = json.loads(out.read_text())
    assert row["episodes"] == 0 and row["episode_return"] is None
    assert row["unfinished"] == 2 and row["unfinished_return"] == 40.0


def test_ctrl_c_keeps_what_was_played(checkpoint_of_endless):
    def stop(moment):
        if moment.step >= 100:
            raise KeyboardInterrupt

    sweep = {"length": [3, 10**9, 4]}
    options = EvaluateOptions(episodes=2, sweep=sweep)
    with pytest.raises(Interrupted) as stopped:
        evaluate([checkpoint_of_endless], options, stop)
    finished, cut = stopped.value.rows
    assert finished.episodes == 2 and finished.episode_length == 3
    assert (cut.episodes, cut.unfinished, cut.unfinished_length) == (0, 2, 100)


def test_ctrl_c_in_the_command_prints_the_table(checkpoint, tmp_path):
    words = ["evaluate", str(checkpoint)]
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "playing" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait() == 130, rest
    assert "unfinished" in rest and "Traceback" not in rest


# Plays the T-Maze, standing still, with so much time that it does not end.
WAITS = """
import sys
from rllib_elmur.runs import evaluate as evaluation

class Loud(evaluation._Evaluation):
    def _tell(self, game, videos, before, step, running):
        if step == 100:
            print("playing", flush=True)
        super()._tell(game, videos, before, step, running)

evaluation._Evaluation = Loud
from rllib_elmur.cli.verbs import main
checkpoint = sys.argv[2]
config = '{"corridor_length": 1000000, "slack": 1.0}'
sys.argv[1:] = ["evaluate", checkpoint, "--env-config", config]
main()
"""
