"""Connectors in a file: a class, a function, or a list of both."""

import gymnasium as gym
import pytest
from ray.rllib.connectors.env_to_module import MeanStdFilter
from small_training import SMALL

from rllib_elmur.files.schema import load

FILTER = "ray.rllib.connectors.env_to_module.MeanStdFilter"
MODULE = """
from ray.rllib.connectors.env_to_module import MeanStdFilter

def clipped(env, spaces, device):
    assert env.single_observation_space is not None
    return MeanStdFilter(clip_by_value=1.0)
"""


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (FILTER, [10.0]),
        ("some_pieces.clipped", [1.0]),
        (f"[{FILTER}, some_pieces.clipped]", [10.0, 1.0]),
    ],
)
def test_a_file_names_connectors_as_classes_and_as_functions(tmp_path, value, limits):
    (tmp_path / "some_pieces.py").write_text(MODULE)
    file = tmp_path / "filtered.yaml"
    file.write_text(
        SMALL.replace("  config:\n", f"  config:\n    env_to_module_connector: {value}\n")
    )
    (experiment,) = load(file)
    config = experiment.trials[0].config
    envs = gym.make_vec("CartPole-v1", num_envs=1)
    pieces = config.build_env_to_module_connector(envs)
    found = [piece for piece in pieces.connectors if isinstance(piece, MeanStdFilter)]
    assert [piece.clip_by_value for piece in found] == limits
