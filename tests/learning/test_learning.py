"""Trainings of minutes: what the tuned examples promise. Run with ``pytest -m learning``."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rllib_elmur.cli.examples import path_of
from rllib_elmur.proof.certify import certify
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions, TrainOptions
from rllib_elmur.runs.train import train

pytestmark = pytest.mark.learning


def train_example(name, folder, **options):
    """Trains a shipped example; returns its checkpoint and the rows of its progress."""
    (result,) = train(path_of(name), TrainOptions(storage_path=folder, **options))
    assert not result.errors
    (progress,) = Path(result.folder).glob("*/progress.csv")
    with progress.open() as lines:
        return result.checkpoints[0], list(csv.DictReader(lines))


def test_the_t_maze_is_learned_on_short_corridors_and_proven_for_all(tmp_path):
    checkpoint, rows = train_example("tmaze-ppo", tmp_path)
    assert float(rows[-1]["certified"]) == 1
    assert certify(checkpoint)[0].verdict == "proven"
    options = EvaluateOptions(sweep={"corridor_length": [1, 100, 1000, 10_000]}, episodes=32)
    assert [row.success for row in evaluate([checkpoint], options)] == [1.0] * 4


@pytest.mark.parametrize(
    ("name", "played"),
    [
        ("tmaze-corrected-ppo", {"corridor_length": 10_000}),
        ("tmaze-endless-ppo", {"junctions": 50}),
    ],
)
def test_a_memory_that_is_overwritten_is_proven_for_any_number_of_times(name, played, tmp_path):
    checkpoint, rows = train_example(name, tmp_path)
    assert float(rows[-1]["certified"]) == 1
    assert certify(checkpoint)[0].verdict == "proven"
    (row,) = evaluate([checkpoint], EvaluateOptions(env_config=played, episodes=64))
    assert row.success == 1.0


def test_what_was_learned_stays(tmp_path):
    stop = {"num_env_steps_sampled_lifetime": 400_000}
    checkpoint, rows = train_example("tmaze-ppo", tmp_path, stop=stop)
    success = [float(row["env_runners/success"]) for row in rows]
    assert np.median(success[-5:]) >= 0.99
    solved = next(i for i, value in enumerate(success) if value > 0.97)
    assert min(success[solved:]) >= 0.9
    assert certify(checkpoint)[0].verdict == "proven"


def test_stateless_cart_pole_is_learned(tmp_path):
    _, rows = train_example("stateless-cartpole-ppo", tmp_path)
    assert max(float(row["env_runners/episode_return_mean"]) for row in rows) >= 350
