"""Ctrl-C keeps the newest state, and the printed command goes on from there."""

import json
import os
import shlex
import signal

import pytest
from small_training import start

from rllib_elmur.runs.options import TrainOptions
from rllib_elmur.runs.train import train

# Trainings in this process share a Ray; those that are interrupted start their own.
pytestmark = pytest.mark.usefixtures("ray_of_one_cpu")

# As on Windows.
WITHOUT_SIGUSR1 = (
    "import signal; del signal.SIGUSR1; from rllib_elmur.cli.verbs import main; main()"
)


@pytest.mark.parametrize("python", [("-m", "rllib_elmur"), ("-c", WITHOUT_SIGUSR1)])
def test_training_goes_on_after_ctrl_c(python, small, tmp_path, rllib):
    stop = ("--stop", '{"training_iteration": 1000}', "--ray-num-cpus", 1)
    process = start("train", "file", small, "--storage-path", tmp_path, *stop, python=python)
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.split()[:1] == ["2"]:
            # As a terminal does it: to every process of the group.
            os.killpg(process.pid, signal.SIGINT)
            break
    lines += process.stdout.readlines()
    assert process.wait() == 130, lines
    [go_on] = [line for line in lines if line.startswith("Go on:")]
    iterations = [int(line.split()[0]) for line in lines if line.strip()[:1].isdigit()]
    words = shlex.split(go_on.removeprefix("Go on:"))
    assert words[0] == "rllib"
    words[words.index("--stop") + 1] = json.dumps({"training_iteration": iterations[-1] + 1})
    code, output = rllib(*words[1:])
    assert code == 0, output
    [results] = tmp_path.glob("*/*/result.json")
    done = [json.loads(line)["training_iteration"] for line in results.read_text().splitlines()]
    assert done == list(range(1, iterations[-1] + 2))


def test_ctrl_c_belongs_to_the_caller_again_after_a_training(small, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    [result] = train(small, TrainOptions(storage_path=tmp_path, experiment_name="short"))
    assert signal.getsignal(signal.SIGINT) is before and not result.interrupted
    [again] = train(
        small, TrainOptions(storage_path=tmp_path, experiment_name="short", resume=True)
    )  # nothing is left to do
    assert signal.getsignal(signal.SIGINT) is before and not again.interrupted
