"""Checkpoints of trainings without env runners, or from recordings, act and are evaluated."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2

import rllib_elmur
from rllib_elmur.envs import TMazePassiveEnv
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.checkpoints import find
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

MAZE = "rllib_elmur/TMazePassive-v0"
SMALL = {"d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": 1, "max_seq_len": 10}


def bc(folder, **environment):
    """BC on a recording, which is read when it trains."""
    column = pyarrow.array([[0.0, 1.0, 0.0, 0.0]] * 4)
    file = folder / "recording.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"obs": column, "actions": [0] * 4, "eps_id": ["a"] * 4}), file
    )
    env = TMazePassiveEnv()
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    config = (
        BCConfig()
        .environment(**spaces, **environment)
        .offline_data(input_=[str(file)], dataset_num_iters_per_learner=1)
    )
    return config.learners(num_learners=0)


def without_local_runner(folder):
    config = PPOConfig().environment(MAZE)
    return config.env_runners(num_env_runners=1, create_local_env_runner=False)


def evaluated(folder):
    return bc(folder, env=MAZE).evaluation(
        evaluation_interval=1, evaluation_num_env_runners=0, evaluation_duration=1
    )


KINDS = {
    "recordings": lambda folder: bc(folder, env=MAZE),
    "recordings, evaluated": evaluated,
    "no local env runner": without_local_runner,
}


def saved(config, folder, **options):
    algo = rllib_elmur.use_elmur(config.debugging(log_level="ERROR"), **SMALL, **options)
    algo = algo.build_algo()
    path = folder / "results" / "checkpoint_000000"
    algo.save_to_path(str(path))
    algo.stop()
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_found_acts_and_is_evaluated(kind, tmp_path, ray_is_quiet):
    path = saved(KINDS[kind](tmp_path), tmp_path)
    assert find(tmp_path / "results") == path
    policy = rllib_elmur.load_policy(path)
    assert policy.act(np.zeros(4, np.float32)) in range(4)
    [row] = evaluate([path], EvaluateOptions(episodes=4))
    assert row.episodes == 4


@pytest.mark.parametrize("kind", ["recordings", "recordings, evaluated"])
def test_recordings_are_joined_with_the_previous_step(kind, tmp_path, ray_is_quiet):
    options = {"previous_action": True, "previous_reward": True}
    config = rllib_elmur.use_elmur(KINDS[kind](tmp_path), **SMALL, **options)
    algo = config.debugging(log_level="ERROR").build_algo()
    parts = set(algo.learner_group._learner.module["default_policy"].observation_space.spaces)
    assert parts == {"observation", "previous_action", "previous_reward"}
    algo.train()
    algo.save_to_path(str(tmp_path / "results" / "checkpoint_000000"))
    algo.stop()
    [row] = evaluate([tmp_path / "results"], EvaluateOptions(episodes=2))
    assert row.episodes == 2


def test_a_training_without_an_environment_asks_for_one(tmp_path, ray_is_quiet):
    path = saved(bc(tmp_path), tmp_path)
    with pytest.raises(UserError, match="had no environment; name one with --env"):
        evaluate([path], EvaluateOptions(episodes=2))
    [row] = evaluate([path], EvaluateOptions(env=MAZE, episodes=2))
    assert row.episodes == 2


class Counted(ConnectorV2):
    """A user's piece between environment and module."""

    calls = 0

    def __call__(self, *, batch, **kwargs):
        Counted.calls += 1
        return batch


def test_connectors_that_were_not_saved_are_built_from_the_config(tmp_path, ray_is_quiet):
    config = bc(tmp_path, env=MAZE)
    path = saved(config.env_runners(env_to_module_connector=lambda *a: Counted()), tmp_path)
    policy, before = rllib_elmur.load_policy(path), Counted.calls
    assert policy.act(np.zeros(4, np.float32)) in range(4)
    assert Counted.calls == before + 1
