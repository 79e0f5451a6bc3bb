"""Imitation of a scripted player, which takes minutes. Run with ``pytest -m learning``."""

import pytest
from imitate_tmaze import EPISODES, imitate, record

from rllib_elmur.proof.certify import certify
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

pytestmark = pytest.mark.learning


def test_what_a_player_showed_in_short_corridors_is_remembered_in_long_ones(tmp_path, ray_is_quiet):
    record(tmp_path / "recording", EPISODES)
    imitate(tmp_path / "recording", tmp_path / "checkpoint", seed=1)
    options = EvaluateOptions(sweep={"corridor_length": [3, 30, 100, 1000]}, episodes=32)
    assert [row.success for row in evaluate([tmp_path / "checkpoint"], options)] == [1.0] * 4
    assert certify(tmp_path / "checkpoint")[0].verdict == "proven"
