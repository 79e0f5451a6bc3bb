"""`rllib report`: a picture of what a policy remembers, and its figures."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from small_training import ROUNDED, untrained_checkpoint

import rllib_elmur
from rllib_elmur.config import PAPER, ELMURConfig
from rllib_elmur.envs import TMazeMultiCueEnv, TMazePassiveEnv
from rllib_elmur.errors import UserError
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof.minimal import minimise
from rllib_elmur.proof.proof import Proof
from rllib_elmur.proof.search import check_all_episodes
from rllib_elmur.report.automaton import arrows, draw_automaton
from rllib_elmur.report.report import _certificate
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


CUE = """
import gymnasium as gym
import numpy as np

from rllib_elmur.envs import describe


class Cue(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue, self.asked = int(self.np_random.choice([-1, 1])), False
        return np.array([self.cue, 0], np.float32), {}

    def step(self, action):
        ended, success = self.asked, bool(action == (self.cue > 0))
        self.asked = bool(self.np_random.random() < 0.3)
        info = {"success": success} if ended else {}
        return np.array([0, self.asked], np.float32), float(ended and success), ended, False, info


def described(env):
    return describe(env, state=lambda cue: cue.cue)
"""


def test_a_task_of_ones_own_has_a_report_too(rllib, tmp_path):
    (tmp_path / "reported_cue.py").write_text(CUE)
    file = tmp_path / "cue.yaml"
    file.write_text(
        ROUNDED.replace("rllib_elmur/TMazePassive-v0", "reported_cue.Cue")
        .replace("env_config: {corridor_length: 3, slack: 2.0}", "env_config: {}")
        .replace("      env_config: {slack: 1.0}\n", "      explore: false\n")
    )
    untrained_checkpoint(file)
    out = ("--segments", "5", "--out", tmp_path / "cue.png")
    code, output = rllib("report", tmp_path, *out)
    assert code == 1 and "Cue has no finite description" in output
    code, output = rllib("report", tmp_path, *out, "--task", "reported_cue:missing")
    assert code == 1 and "--task reported_cue:missing" in output
    code, output = rllib("report", tmp_path, *out, "--task", "reported_cue:described")
    assert code == 0 and (tmp_path / "cue.png").exists()
    rows = list(csv.DictReader((tmp_path / "cue.csv").open()))
    # It has no corridors to sweep: one row of episodes as they come.
    (success,) = (row for row in rows if row["what"] == "success")
    assert 2 < float(success["x"]) < 10 and 0 <= float(success["value"]) <= 1


def test_a_report_needs_a_maze(rllib, tmp_path):
    code, output = rllib("report", tmp_path)
    assert code == 1 and "holds none" in output


def test_a_report_needs_corridors():
    ways = _ways(TMazeMultiCueEnv(cues=2, corridor_length=0).finite_task(), np.random.default_rng())
    with pytest.raises(UserError, match="may go on without an end"):
        for _ in range(9):
            next(ways)


def test_an_attention_that_no_search_covers_gets_no_certificate_in_a_report():
    env = TMazePassiveEnv()
    module = rllib_elmur.ELMURTorchRLModule(
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={"memory_levels": 2, "attention_window": 8},
    )
    assert _certificate(module, env.finite_task()) is None


@pytest.mark.parametrize("noise", [None, 1e-3])
def test_the_automaton_of_a_report_says_what_leads_from_memory_to_memory(noise):
    env = TMazePassiveEnv(noise_bound=noise)
    task = env.finite_task()
    task = task._replace(correct=np.ones_like(task.correct))
    sizes = {"n_layers": 1, "d_model": 8, "d_ff": 8, "memory_slots": 1, "memory_levels": 2}
    config = ELMURConfig(**{**PAPER, **sizes, "segment_length": 2})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PolicyNetwork(env.observation_space, 4, config)
    with torch.no_grad():
        network.pi.bias[0] = 9.0  # all memories act alike, in either situation
    proof = Proof(network, check_all_episodes(network, task, 10_000))
    memory = minimise(proof)
    assert [(a.source, a.target, a.seen) for a in arrows(proof, memory)] == [(0, 1, ""), (1, 1, "")]
    # As a policy would that tells the hints apart:
    hint = proof.states.situation
    apart = memory._replace(kind=hint, remembering=np.array([1, 2]))
    found = {(a.source, a.target): a.seen for a in arrows(proof, apart)}
    assert found == {(0, 1): "hint -1", (0, 2): "hint 1", (1, 1): "", (2, 2): ""}
    axes = Figure().subplots()
    draw_automaton(axes, proof, apart)
    said = {text.get_text() for text in axes.texts}
    assert {"hint -1", "hint 1", "stays", "start\n1"} <= said
