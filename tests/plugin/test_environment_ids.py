"""Ids that other packages register with Gymnasium work wherever an environment is named."""

import shlex
import subprocess
import sys
import warnings

import gymnasium as gym
import pytest
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_elmur
from rllib_elmur.errors import UserError
from rllib_elmur.files.schema import load
from rllib_elmur.plugin.environments import env_maker

PACKAGE = """
import gymnasium as gym
gym.register("elsewhere-Walk-v0", entry_point="elsewhere.walk:Walk")
"""
WALK = """
import gymnasium as gym

class Walk(gym.Env):
    observation_space = gym.spaces.Discrete(3)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length=3):
        self.length, self.time = length, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return 0, {}

    def step(self, action):
        self.time += 1
        return self.time % 3, float(action), self.time >= self.length, False, {}


class OfConfig(Walk):
    def __init__(self, config):
        super().__init__(**config)
"""
WITH_MODULE = "elsewhere:elsewhere-Walk-v0"
FILE = f"""
walk:
  run: PPO
  env: {WITH_MODULE}
  stop: {{training_iteration: 1}}
  checkpoint_config: {{checkpoint_at_end: true}}
  config:
    env_config: {{length: 4}}
    num_env_runners: 1
    train_batch_size_per_learner: 100
    minibatch_size: 100
    num_epochs: 1
    rl_module_spec:
      module_class: rllib_elmur.ELMURTorchRLModule
      model_config: {{n_layers: 1, d_model: 16, d_ff: 16}}
"""
SCRIPT = """
import elsewhere
from ray.rllib.algorithms.ppo import PPOConfig
import rllib_elmur

config = PPOConfig().environment("elsewhere-Walk-v0", env_config={"length": 4})
config.env_runners(num_env_runners=1)
config.training(train_batch_size_per_learner=100, minibatch_size=100, num_epochs=1)
result = rllib_elmur.use_elmur(config, n_layers=1).build_algo().train()
print("episodes of", result["env_runners"]["episode_len_mean"], "steps")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder with the package `elsewhere`, which this process has not imported."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "walk.py").write_text(WALK)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    gym.registry.pop("elsewhere-Walk-v0", None)
    for name in ("elsewhere", "elsewhere.walk"):
        sys.modules.pop(name, None)


def test_an_id_behind_its_module_is_made_with_its_options(package):
    env = env_maker(WITH_MODULE)({"length": 7})
    assert env.unwrapped.length == 7


def test_a_class_path_is_an_environment_everywhere(package, rllib, checkpoint):
    assert env_maker("elsewhere.walk.OfConfig")({"length": 7}).length == 7
    for verb in ("evaluate", "certify"):
        code, output = rllib(verb, checkpoint, "--env", "elsewhere.walk.Run")
        assert code == 1 and "env='elsewhere.walk.Run': module 'elsewhere.walk'" in output
    code, output = rllib("certify", checkpoint, "--env", "elsewhere.walk.OfConfig")
    assert code == 1 and "OfConfig has no finite description" in output


def test_a_file_may_name_an_id_behind_its_module(package):
    (package / "walk.yaml").write_text(FILE)
    (experiment,) = load(package / "walk.yaml")
    assert experiment.trials[0].config.env == WITH_MODULE


def test_an_id_whose_package_is_not_imported_is_told_to_name_its_module(package):
    (package / "walk.yaml").write_text(FILE.replace(WITH_MODULE, "elsewhere-Walk-v0"))
    form = rf"walk.yaml:4: env='elsewhere-Walk-v0' is neither .*, as in '{WITH_MODULE}'\."
    with pytest.raises(UserError, match=form):
        load(package / "walk.yaml")


def test_a_package_whose_name_is_unknown_is_called_module(package):
    with pytest.raises(UserError, match=r"as in 'module:Walk-v0'\."):
        env_maker("Walk-v0")


@pytest.mark.parametrize(
    ("env", "cause"),
    [("elsewere:elsewhere-Walk-v0", "No module named 'elsewere'"), ("elsewhere:Run-v0", "Run")],
)
def test_a_wrong_module_or_id_is_named(package, env, cause):
    with pytest.raises(UserError, match=f"env='{env}': .*{cause}"):
        env_maker(env)


def test_use_elmur_puts_an_id_behind_its_module(package):
    import elsewhere  # noqa: F401 (registers the id)

    config = rllib_elmur.use_elmur(PPOConfig().environment("elsewhere-Walk-v0"))
    assert config.env == WITH_MODULE


@pytest.mark.parametrize("env", ["CartPole-v1", "rllib_elmur/TMazePassive-v0", WITH_MODULE, None])
def test_use_elmur_leaves_other_ids_as_they_are(package, env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rllib_elmur.use_elmur(PPOConfig().environment(env)).env == env


def test_use_elmur_warns_of_an_id_whose_package_is_not_imported(package):
    with pytest.warns(UserWarning, match=f"is not registered; .*, as in '{WITH_MODULE}'"):
        rllib_elmur.use_elmur(PPOConfig().environment("elsewhere-Walk-v0"))


def test_remote_env_runners_find_an_id_that_only_the_driver_has_imported(package):
    (package / "train.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=package, capture_output=True, text=True, timeout=300
    )
    assert "episodes of 4.0 steps" in done.stdout, done.stderr[-3000:]


def test_a_file_is_trained_on_remote_env_runners_and_its_policy_evaluated(package, rllib):
    (package / "walk.yaml").write_text(FILE)
    trained = subprocess.run(
        [
            sys.executable,
            "-m",
            "rllib_elmur",
            "train",
            "file",
            "walk.yaml",
            "--storage-path",
            "results",
        ],
        cwd=package,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert trained.returncode == 0, trained.stdout + trained.stderr
    [command] = [line for line in trained.stdout.splitlines() if line.startswith("Evaluate:")]
    words = shlex.split(command.removeprefix("Evaluate:"))
    anywhere = subprocess.run(
        [sys.executable, "-m", "rllib_elmur", *words[1:]],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert anywhere.returncode == 0, anywhere.stdout + anywhere.stderr
    of_class = ["--env", "elsewhere.walk.OfConfig", "--env-config", '{"length": 3}']
    for options in ([], ["--env", WITH_MODULE], of_class):
        code, printed = rllib("evaluate", package / "results", "--episodes", "2", *options)
        assert code == 0 and "2" in printed, printed


def test_popgym_works_in_a_file(tmp_path):
    file = tmp_path / "popgym.yaml"
    text = FILE.replace(WITH_MODULE, "popgym:popgym-RepeatFirstEasy-v0")
    file.write_text(text.replace("{length: 4}", "{}"))
    (experiment,) = load(file)
    assert experiment.trials[0].config.env == "popgym:popgym-RepeatFirstEasy-v0"
