"""What a Python file registers is known to remote env runners and to who evaluates its results."""

import json
import os
import shlex
import subprocess
import sys

import pytest

FILE = """
import gymnasium as gym
import rllib_elmur
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env
from rllib_elmur.envs import TMazePassiveEnv


class Maze(TMazePassiveEnv):
    pass


REGISTER
config = PPOConfig().environment("own-Maze-v0", env_config={"corridor_length": 2, "slack": 1.0})
config.env_runners(num_env_runners=1).training(
    train_batch_size_per_learner=100, minibatch_size=100, num_epochs=1
)
rllib_elmur.use_elmur(
    config, d_model=16, d_ff=16, max_seq_len=10, segment_length=5, memory_slots=2,
    attention_window=None, memory_levels=2,
)
stop = {"training_iteration": 1}
"""
REGISTRIES = {
    "RLlib": 'register_env("own-Maze-v0", lambda options: Maze(**options))',
    "Gymnasium": 'gym.register("own-Maze-v0", entry_point=Maze)',
}


EVALUATED_AND_CERTIFIED = """
import json
import sys
from rllib_elmur.cli.verbs import main

for words in json.loads(sys.argv[1]):
    sys.argv = ["rllib", *words]
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code or 0)
"""


def run(folder, *words, program=("-m", "rllib_elmur")):
    """Runs `rllib` in a process of its own, in a folder: exit code and everything it printed."""
    done = subprocess.run(
        [sys.executable, *program, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "COLUMNS": "200"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("registry", REGISTRIES)
def test_an_id_that_a_file_registers_is_evaluated_and_certified_from_any_folder(registry, tmp_path):
    (tmp_path / "own.py").write_text(FILE.replace("REGISTER", REGISTRIES[registry]))
    code, printed = run(tmp_path, "train", "file", "own.py", "--storage-path", "results")
    assert code == 0, printed
    [command] = [line for line in printed.splitlines() if line.startswith("Evaluate:")]
    _, *words = shlex.split(command.removeprefix("Evaluate:"))
    both = json.dumps([words, ["certify", str(tmp_path / "results")]])
    code, printed = run("/", both, program=("-c", EVALUATED_AND_CERTIFIED))
    evaluated, certified, _ = printed.split("exit code")
    assert code == 0 and certified.startswith(" 0") and "32" in evaluated, printed
    assert "Error" not in printed and ("Refuted" in printed or "Proven" in printed), printed
