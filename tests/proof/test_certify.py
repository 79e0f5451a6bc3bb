"""`rllib certify`, the public function, and a training that ends with a proof."""

import json
from itertools import islice

import gymnasium
import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle
from small_training import ROUNDED, untrained_checkpoint
from test_search import scripts

import rllib_elmur
from rllib_elmur.envs import TMazeMultiCueEnv
from rllib_elmur.errors import UserError
from rllib_elmur.files import schema
from rllib_elmur.plugin.success import SuccessMetric
from rllib_elmur.proof.callback import CertifyMemory, report_certified
from rllib_elmur.proof.certify import _replay, certify_module


def test_a_refuted_policy_is_shown_at_its_mistake(rllib, checkpoint, tmp_path):
    out = tmp_path / "certificate.json"
    code, output = rllib("certify", checkpoint, "--out", out)
    assert code == 1
    for part in ("Refuted", "corridor length", "noise", "the same, step by step"):
        assert part in output
    (record,) = json.loads(out.read_text())
    example = record["counterexample"]
    assert record["verdict"] == "refuted" and example["confirmed"] and record["gap"] < 1e-4
    # The reader of the file can play it.
    env = gymnasium.make("rllib_elmur/TMazePassive-v0")
    observation, _ = env.reset(options={"script": np.array(example["observations"], np.float32)})
    for seen, action in zip(example["observations"], example["actions"], strict=True):
        np.testing.assert_array_equal(observation, seen)
        observation, *_ = env.step(action)
    assert example["actions"][-1] not in example["correct"][-1]


def test_the_function_of_the_package_says_the_same(checkpoint):
    certificate, replay = rllib_elmur.certify(checkpoint, env_config={"hint_steps": 2})
    assert certificate.verdict == "refuted" and replay.confirmed
    certificate, replay = rllib_elmur.certify(checkpoint, env="rllib_elmur/TMazeEndless-v0")
    assert certificate.verdict == "refuted" and replay.confirmed


def test_what_has_no_certificate_is_said(rllib, checkpoint, tmp_path):
    code, output = rllib("certify", checkpoint, "--env", "CartPole-v1")
    assert code == 1 and "finite_task" in output
    code, output = rllib("certify", tmp_path / "none")
    assert code == 1 and "no such checkpoint" in output
    code, output = rllib("certify", checkpoint, "--out", tmp_path / "table.csv")
    assert code == 1 and "must end in .json" in output
    # Before the search, so before the verdict.
    noise = "--env-config", '{"noise_bound": 0.1}', "--out", tmp_path / "proof.npz"
    code, output = rllib("certify", checkpoint, *noise)
    assert code == 1 and "proof under noise cannot be written" in output
    assert "Refuted" not in output and "Undecided" not in output


def test_a_real_valued_memory_cannot_be_certified():
    env = gymnasium.make("rllib_elmur/TMazePassive-v0")
    module = rllib_elmur.ELMURTorchRLModule(
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={"memory_levels": None},
    )
    with pytest.raises(UserError, match=r"memory_levels=None.*memory_levels >= 2"):
        certify_module(module, env)
    with pytest.raises(UserError, match="Identity is not ELMUR"):
        certify_module(torch.nn.Identity(), env)


def test_attention_beyond_a_segment_cannot_be_certified():
    env = gymnasium.make("rllib_elmur/TMazePassive-v0")
    module = rllib_elmur.ELMURTorchRLModule(
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={"memory_levels": 2, "attention_window": 8},
    )
    with pytest.raises(UserError, match=r"attention_window=8 .* Train with attention_window=None"):
        certify_module(module, env)


def untrained(env):
    return rllib_elmur.ELMURTorchRLModule(
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={
            "memory_levels": 2,
            "n_layers": 1,
            "segment_length": 2,
            "memory_slots": 2,
            "attention_window": None,
            "write_before_read": False,
        },
    )


def test_a_mistake_among_several_questions_is_found_and_played():
    env = gymnasium.make("rllib_elmur/TMazeMultiCue-v0", cues=2, corridor_length=0)
    certificate, replay = certify_module(untrained(env), env)
    assert certificate.verdict == "refuted" and replay.confirmed


def test_a_share_of_correct_answers_is_told_as_it_is():
    env = TMazeMultiCueEnv(cues=2, corridor_length=0)
    module, task = untrained(env), env.finite_task()
    with torch.no_grad():
        module.network.pi.bias[1] += 100.0  # always up
    found = set()
    for path in islice(scripts(task, 4), 0, None, 3):  # many differ in noise alone
        replay = _replay(module, env, task, np.asarray(path))
        assert type(replay.success) is float
        assert replay.success == replay.correct[2:, 1].mean()
        found.add(replay.success)
    assert found == {0.0, 0.5, 1.0}


class Deaf(TMazeMultiCueEnv):
    """A maze that plays no scripts: its episodes are drawn, whatever is asked for."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


def test_a_mistake_that_the_environment_does_not_show_is_not_confirmed():
    env = Deaf(cues=2, corridor_length=0)
    certificate, replay = certify_module(untrained(env), env)
    assert certificate.verdict == "refuted" and not replay.confirmed


def test_a_mistake_that_the_policy_does_not_make_is_not_confirmed():
    env = TMazeMultiCueEnv(cues=2, corridor_length=0)
    module, task = untrained(env), env.finite_task()
    certificate, replay = certify_module(module, env)
    assert replay.confirmed
    with torch.no_grad():  # another policy, which answers this question right
        right = task.correct[certificate.counterexample[-1]].argmax()
        module.network.pi.bias[right] += 100.0
    assert not _replay(module, env, task, certificate.counterexample).confirmed


def test_a_policy_of_other_spaces_cannot_be_certified():
    module = untrained(TMazeMultiCueEnv(cues=2, corridor_length=0))
    with pytest.raises(UserError, match="trained for the observation space"):
        certify_module(module, gymnasium.make("rllib_elmur/TMazePassive-v0"))


def test_a_policy_that_reads_what_connectors_make_cannot_be_certified(tmp_path):
    file = tmp_path / "previous.yaml"
    file.write_text(
        ROUNDED.replace("memory_levels: 2", "memory_levels: 2\n        previous_action: true")
    )
    with pytest.raises(UserError, match=r"cannot be certified: .* connectors Previous"):
        rllib_elmur.certify(untrained_checkpoint(file))


def test_a_task_with_too_many_situations_to_list_is_said():
    env = gymnasium.make("rllib_elmur/TMazeMultiCue-v0", cues=16)
    with pytest.raises(UserError, match=r"cues=16.* choose fewer cues or values"):
        certify_module(untrained(env), env)


def test_a_training_that_is_to_end_with_a_proof_needs_a_rounded_memory(rllib, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(ROUNDED.replace("memory_levels: 2", "memory_levels: null"))
    code, output = rllib("train", "file", file, "--stop", '{"certified": 1}')
    assert code == 1 and "memory_levels=None" in output
    assert not ray.is_initialized()


def test_a_training_ends_with_its_proof(rllib, tmp_path):
    """A corridor of length 1 needs no memory: some seconds of training prove it."""
    file = tmp_path / "easy.yaml"
    file.write_text(
        ROUNDED.replace("{training_iteration: 2}", "{certified: 1, training_iteration: 500}")
        .replace("rllib_elmur/TMazePassive-v0", "certify_maze.Bandit")
        .replace("env_config: {corridor_length: 3, slack: 2.0}", "env_config: {}")
        .replace("      env_config: {slack: 1.0}\n", "      explore: false\n")
        .replace("  stop:", "  task: certify_maze.described\n  stop:")
        .replace("lr: 1e-4", "lr: 3e-3")
    )
    (tmp_path / "certify_maze.py").write_text(BANDIT)
    code, output = rllib("train", "file", file, "--storage-path", tmp_path)
    assert code == 0 and "proven for every length" in output
    # It is described as in the training, or as one says.
    for task in ([], ["--task", "certify_maze:described"]):
        code, output = rllib("certify", tmp_path, *task)
        assert code == 0 and "Proven for every length" in output
    code, output = rllib("certify", tmp_path, "--task", "certify_maze:turned")
    assert code == 1 and "finite description of Bandit calls actions correct" in output
    code, output = rllib("certify", tmp_path, "--task", "certify_maze:missing")
    assert code == 1 and "--task certify_maze:missing" in output


def test_a_file_says_what_describes_its_environment(tmp_path):
    (tmp_path / "told_maze.py").write_text(BANDIT)
    file = tmp_path / "told.yaml"
    text = ROUNDED.replace("rllib_elmur/TMazePassive-v0", "told_maze.Bandit").replace(
        "  stop:", "  task: told_maze.{}\n  stop:"
    )
    text = text.replace("      env_config: {slack: 1.0}\n", "      explore: false\n")
    text = text.replace("env_config: {corridor_length: 3, slack: 2.0}", "env_config: {{}}")
    text = text.replace("{training_iteration: 2}", "{{training_iteration: 2}}")
    file.write_text(text.format("described"))
    (experiment,) = schema.load(file)
    config = experiment.trials[0].config
    report_certified(config, experiment.task)
    (reports,) = [each for each in config.callbacks_class if issubclass(each, CertifyMemory)]
    assert reports.task is experiment.task
    assert not [each for each in config.callbacks_class if each is SuccessMetric]
    # Once more is once; it outlives a process.
    report_certified(config)
    assert [each for each in config.callbacks_class if issubclass(each, CertifyMemory)] == [reports]
    assert cloudpickle.loads(cloudpickle.dumps(reports)).task.__name__ == "described"
    file.write_text(text.format("missing"))
    with pytest.raises(UserError, match=r"told.yaml:\d+.*task='told_maze.missing'"):
        schema.load(file)


BANDIT = """
import gymnasium as gym
import numpy as np

from rllib_elmur.envs import FiniteTask


class Bandit(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._look(), {}

    def step(self, action):
        right = action == (self.side > 0)
        self.time += 1
        ended = not right or self.time == 8
        return self._look(), float(right), ended, False, {"success": bool(right)} if ended else {}

    def _look(self):
        self.side = self.np_random.choice([-1, 1])
        return np.array([self.side], dtype=np.float32)


def described(env):
    assert isinstance(env, Bandit)
    return FiniteTask(
        start=np.array([0]),
        source=np.array([0, 0]),
        observation=np.array([[-1], [1]], dtype=np.float32),
        correct=np.array([[True, False], [False, True]]),
        target=np.array([0, 0]),
    )


def turned(env):
    task = described(env)
    return task._replace(correct=~task.correct)
"""
