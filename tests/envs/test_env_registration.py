"""The ids are known to Gymnasium, and to every RLlib worker, by importing the package."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import rllib_elmur
from rllib_elmur.envs import ENVIRONMENTS, register_gymnasium_ids
from rllib_elmur.plugin.registry import create_env

ROOT = str(Path(rllib_elmur.__file__).parents[1])
every_id = pytest.mark.parametrize("env_id", ENVIRONMENTS)


def run(code):
    """Runs code in an interpreter of its own and returns what it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_importing_the_package_imports_neither_ray_nor_torch():
    code = "import sys, rllib_elmur; print({'ray', 'torch', 'pandas'} & set(sys.modules))"
    assert run(code) == "set()"


def test_importing_the_environments_needs_only_numpy_and_gymnasium():
    code = """
import sys
sys.modules["ray"] = sys.modules["torch"] = sys.modules["matplotlib"] = None
import importlib.util
importlib.util.find_spec = lambda name, package=None: None
import rllib_elmur.envs, gymnasium
print(gymnasium.make("rllib_elmur/TMazePassive-v0").reset(seed=0)[1])
"""
    assert run(code) == "{'corridor_length': 10}"


@pytest.mark.parametrize(
    "imports",
    [
        "import rllib_elmur; import ray.tune.registry",
        "import ray.tune.registry; import rllib_elmur",
        "import rllib_elmur, importlib; importlib.reload(rllib_elmur); import ray.tune.registry",
    ],
)
def test_ids_are_in_rllibs_registry_whichever_is_imported_first(imports):
    code = f"""
import sys
{imports}
from ray.tune.registry import ENV_CREATOR, _global_registry
assert not any("rllib_elmur" in type(finder).__module__ for finder in sys.meta_path)
assert "rllib_elmur" not in type(ray.tune.registry.__spec__.loader).__module__
print(all(_global_registry.contains(ENV_CREATOR, i) for i in rllib_elmur.envs.ENVIRONMENTS))
"""
    assert run(code) == "True"


@every_id
def test_registering_again_changes_nothing(env_id):
    spec = gymnasium.spec(env_id)
    register_gymnasium_ids()
    assert gymnasium.spec(env_id) is spec


@every_id
def test_rllib_gets_the_scalar_form_or_the_vector_form_as_it_asks(env_id):
    classes = ENVIRONMENTS[env_id]
    scalar = create_env(env_id, {"corridor_length": 3})
    vector = create_env(env_id, {"corridor_length": 3, "num_envs": 4})
    assert type(scalar) is classes.scalar
    assert type(vector) is classes.vector and vector.num_envs == 4
    with pytest.raises(ValueError, match="did you mean 'corridor_length'"):
        create_env(env_id, {"corridor_lenght": 3})


WORKERS = """
import logging, sys
import gymnasium, ray
import rllib_elmur
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

def start_cluster():
    ray.init(
        "local",
        num_cpus=2, include_dashboard=False, logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": sys.argv[1], "OMP_NUM_THREADS": "1"}},
    )

def kind(runner):
    return type(runner.env.unwrapped).__name__

config = (
    PPOConfig()
    .environment("rllib_elmur/TMazePassive-v0", env_config={"corridor_length": [3, 6]})
    .env_runners(num_env_runners=1, num_envs_per_env_runner=3)
    .rl_module(model_config=DefaultModelConfig(use_lstm=True, max_seq_len=5))
    .training(train_batch_size=200, minibatch_size=100, num_epochs=1)
)
start_cluster()
algo = config.build_algo()
assert algo.train()["env_runners"]["num_episodes"] > 0
print(algo.env_runner_group.foreach_env_runner(kind, local_env_runner=False)[0])
algo.stop()
ray.shutdown()

# The ids outlive the first cluster of a process.
config = config.copy(copy_frozen=False)
config.env_runners(gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT)
start_cluster()
runner = ray.remote(SingleAgentEnvRunner).remote(config=config, worker_index=1)
episodes = ray.get(runner.sample.remote(num_episodes=3, random_actions=False))
assert [episode.is_done for episode in episodes] == [True] * 3
assert all("success" in episode.get_infos(-1) for episode in episodes)
print(ray.get(runner.apply.remote(kind)))
ray.shutdown()
"""


def test_remote_runners_find_the_id_by_name_in_both_forms_and_in_a_second_cluster():
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, ROOT], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split()[-2:] == ["SyncVectorEnv", "TMazePassiveVectorEnv"]
