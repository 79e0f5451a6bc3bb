"""`rllib report`: a picture of what a policy remembers, and its figures."""

import csv

import numpy as np
import pytest

from rllib_elmur.envs import TMazeMultiCueEnv
from rllib_elmur.errors import UserError
from rllib_elmur.report.retention import _ways


def test_a_report_is_a_picture_and_its_figures(rllib, checkpoint, tmp_path):
    from PIL import Image

    picture = tmp_path / "picture.png"
    code, output = rllib("report", checkpoint, "--segments", "40", "--out", picture)
    assert code == 0 and str(picture.with_suffix(".csv")) in output
    assert Image.open(picture).size[0] == 800
    rows = list(csv.DictReader(picture.with_suffix(".csv").open()))
    success = [row for row in rows if row["what"] == "success"]
    assert [int(row["x"]) for row in success][-1] == 10_000
    distance = {int(r["x"]): float(r["value"]) for r in rows if r["what"] == "distance"}
    assert max(distance) == 40 and all(0 <= value <= 2 for value in distance.values())
    # Two slots are written in turn, five steps apart.
    anchors = [
        [int(r["value"]) for r in rows if r["what"] == f"anchor of layer 0, slot {slot}"]
        for slot in (0, 1)
    ]
    assert [a[:4] for a in anchors] == [[4, 4, 14, 14], [-1, 9, 9, 19]]
    assert [row["what"] for row in rows].count("refuted") == 1


def test_a_report_needs_a_maze(rllib, tmp_path):
    code, output = rllib("report", tmp_path)
    assert code == 1 and "holds none" in output


def test_a_report_needs_corridors():
    ways = _ways(TMazeMultiCueEnv(cues=2, corridor_length=0).finite_task(), np.random.default_rng())
    with pytest.raises(UserError, match="may go on without an end"):
        for _ in range(9):
            next(ways)
