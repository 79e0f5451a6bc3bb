"""Files are trained, and what was trained is evaluated."""

import csv
import json
import shlex
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import ray
import yaml
from small_training import SMALL

from rllib_elmur.files.schema import load
from rllib_elmur.runs.options import TrainOptions
from rllib_elmur.runs.overrides import override

FAULTY = """
import numpy as np
from rllib_elmur.envs import TMazePassiveEnv

class Faulty(TMazePassiveEnv):
    def __init__(self, config):
        super().__init__(corridor_length=3, slack=2.0)
        self.mode, self.n = config["mode"], 0

    def step(self, action):
        observation, *rest = super().step(action)
        self.n += 1
        if self.n % 300 == 0:  # now and then
            if self.mode == "raise":
                raise RuntimeError("the door is stuck")
            observation = np.full(4 if self.mode == "nan" else 7, np.nan, np.float32)
        return observation, *rest
"""
FAULTY_TRAINING = """
import ray.cloudpickle, faulty_env, rllib_elmur
from ray.rllib.algorithms.ppo import PPOConfig
ray.cloudpickle.register_pickle_by_value(faulty_env)
config = PPOConfig().environment(faulty_env.Faulty, env_config={"mode": "MODE"})
config.env_runners(num_env_runners=0).training(train_batch_size=400, minibatch_size=100)
rllib_elmur.use_elmur(config, n_layers=1)
stop = {'training_iteration': 2}
"""


@pytest.fixture(scope="module")
def cluster():
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def trained(cluster, results, small, rllib):
    """The output of one short training of two seeds, and its checkpoints."""
    output = results / "output.txt"
    if not output.exists():
        small.write_text(
            SMALL.replace("    lr:", "    seed: {grid_search: [0, 1]}\n    lr:").replace(
                "300", "200"
            )
        )
        code, text = rllib(
            "train", "file", small, "--storage-path", results, "--experiment-name", "two"
        )
        assert code == 0, text
        output.write_text(text)
    checkpoints = sorted(results.glob("two/*/checkpoint_*"))
    return output.read_text(), checkpoints


def test_a_number_with_an_exponent_is_a_number(small):
    [experiment] = load(small)
    assert experiment.trials[0].config.lr == 1e-4


def test_a_search_may_stand_inside_the_model_options(small):
    small.write_text(
        SMALL.replace("d_model: 16", "d_model: {grid_search: [16, 32]}").replace(
            "lr: 1e-4", "lr: {loguniform: [1e-5, 1e-3]}"
        )
    )
    [experiment] = load(small, num_samples=2)
    configs = [trial.config for trial in experiment.trials]
    widths = [config.rl_module_spec.model_config["d_model"] for config in configs]
    assert sorted(widths) == [16, 16, 32, 32]
    assert len({config.lr for config in configs}) == 4
    assert [c.lr for c in configs] == [t.config.lr for t in load(small, 2)[0].trials]


def test_a_search_may_stand_inside_the_learner_options(small):
    options = "learner_config_dict: {weight_decay: {grid_search: [0.25, 0.5]}}"
    small.write_text(SMALL.replace("    lr:", f"    {options}\n    lr:"))
    [experiment] = load(small)
    found = [trial.config.learner_config_dict for trial in experiment.trials]
    assert found == [{"weight_decay": 0.25}, {"weight_decay": 0.5}]


@pytest.mark.parametrize("said", [None, True, False])
@pytest.mark.parametrize("address", [None, "auto"])
def test_lost_runners_are_restarted_as_the_file_says_or_on_a_cluster(small, said, address):
    if said is not None:
        restart = f"restart_failed_env_runners: {str(said).lower()}"
        small.write_text(SMALL.replace("    lr:", f"    {restart}\n    lr:"))
    [experiment] = load(small)
    override(experiment, TrainOptions(ray_address=address))
    restarts = experiment.trials[0].config.restart_failed_env_runners
    assert restarts is (address is not None if said is None else said)


def test_training_prints_one_line_per_iteration_and_what_to_do_next(trained, results):
    output, checkpoints = trained
    lines = [line for line in output.splitlines() if line.strip()[:1].isdigit()]
    assert [line.split()[0] for line in lines].count("2") == 2
    assert sum("seed=1" in line for line in lines) == 2
    assert len(output.splitlines()) < 12
    assert len(checkpoints) == 2
    assert f"rllib evaluate {checkpoints[0]}" in output
    assert f"tensorboard --logdir {results / 'two'}" in output


def test_the_printed_tensorboard_command_shows_the_results(trained, tmp_path):
    [line] = [line for line in trained[0].splitlines() if line.startswith("TensorBoard:")]
    program, *words = shlex.split(line.removeprefix("TensorBoard:"))
    [script] = [e for e in entry_points(group="console_scripts") if e.name == program]
    command = [sys.executable, "-m", script.module, "--inspect", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ray/tune/env_runners/success" in done.stdout


def test_a_training_says_that_its_config_goes_without_the_sparse_state(small, rllib, tmp_path):
    runner = "ray.rllib.env.single_agent_env_runner.SingleAgentEnvRunner"
    small.write_text(SMALL.replace("    lr:", f"    env_runner_cls: {runner}\n    lr:"))
    code, output = rllib("train", "file", small, "--storage-path", tmp_path)
    assert code == 0
    assert output.count("env_runner_cls=SingleAgentEnvRunner") == 1
    assert "bytes per env step in place of about" in output


def test_success_is_in_every_result(trained, results):
    for file in results.glob("two/*/progress.csv"):
        for row in csv.DictReader(file.open()):
            assert 0.0 <= float(row["env_runners/success"]) <= 1.0


def test_evaluation_has_a_row_for_each_corridor_length(trained, rllib, tmp_path):
    out = tmp_path / "table.json"
    lengths = '{"corridor_length": [2, 5]}'
    code, output = rllib(
        "evaluate", *trained[1], "--env-config", lengths, "--episodes", 3, "--out", out
    )
    assert code == 0, output
    rows = json.loads(out.read_text())
    assert [row["corridor_length"] for row in rows] == [2, 5, 2, 5]
    assert all(row["episodes"] == 3 for row in rows)
    # The strict limit of the file's evaluation_config, not the training's.
    assert all(row["episode_length"] <= row["corridor_length"] + 1 for row in rows)
    assert "corridor length" in output and "success" in output


def test_evaluation_draws_a_figure(trained, rllib, tmp_path):
    out = tmp_path / "figure.png"
    lengths = '{"corridor_length": [2, 5]}'
    code, _ = rllib("evaluate", *trained[1], "--env-config", lengths, "--episodes", 2, "--out", out)
    assert code == 0 and out.read_bytes().startswith(b"\x89PNG")


def test_evaluation_in_an_environment_of_other_spaces_is_refused(trained, rllib):
    code, output = rllib("evaluate", trained[1][0], "--env", "CartPole-v1")
    assert code == 1 and "observation space" in output


def test_training_begins_with_the_state_of_a_checkpoint(trained, results, small, rllib):
    code, output = rllib(
        *("train", "file", small, "--restore", trained[1][0], "--storage-path", results),
        *("--stop", '{"training_iteration": 1}', "--experiment-name", "restored"),
    )
    assert code == 0, output
    [result] = results.glob("restored/*/result.json")
    assert json.loads(result.read_text())["num_env_steps_sampled_lifetime"] >= 600


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("raise", "RuntimeError: the door is stuck"),
        ("nan", "ValueError: observation contains nan"),
        ("shape", "ValueError: Output array is the wrong shape"),
    ],
)
def test_an_error_of_a_worker_reaches_the_user_without_a_traceback(
    cluster, results, tmp_path, rllib, mode, message
):
    (tmp_path / "faulty_env.py").write_text(FAULTY)
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY_TRAINING.replace("MODE", mode))
    code, output = rllib("train", "file", file, "--storage-path", results)
    assert code == 1
    assert f"PPO on Faulty: {message}" in output
    assert "Traceback" not in output


def test_a_training_without_a_file_is_the_one_of_a_file(rllib, tmp_path):
    config = yaml.safe_load(SMALL)["maze"]["config"] | {"lr": 1e-4}
    words = ("train", "--run", "PPO", "--env", "rllib_elmur/TMazePassive-v0")
    stop = ("--stop", '{"training_iteration": 1}', "--storage-path", tmp_path)
    code, output = rllib(*words, "--config", json.dumps(config), *stop)
    assert code == 0 and "Evaluate:" in output, output
    code, output = rllib(*words, "--config", '{"lrr": 1}')
    assert code == 1 and "rllib train: unknown key 'lrr'" in output and "Did you mean" in output
    code, output = rllib("train", "--run", "PPOO", "--env", "CartPole-v1")
    assert code == 1 and "Did you mean 'PPO'" in output
