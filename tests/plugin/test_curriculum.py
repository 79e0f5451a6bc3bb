"""A curriculum changes the environments of a training, and goes on where it was."""

import os
import signal
import sys

import pytest
from plugin_helpers import RandomEnv, elmur_ppo
from ray import cloudpickle
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.impala import IMPALAConfig
from small_training import SMALL as FILE

import rllib_elmur
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.success import SuccessMetric

MAZE = "rllib_elmur/TMazePassive-v0"
SOURCE = """
import rllib_elmur


class Corridors(rllib_elmur.Curriculum):
    stages = [{"corridor_length": [5, 6]}, {"corridor_length": 9, "slack": 3.0}]
    at_least = 0.0


class Steps(rllib_elmur.Curriculum):
    stages = [{"lengths": [5]}]
    result, at_least = "env_runners/episode_len_mean", 2.0
"""


@pytest.fixture
def curricula(tmp_path, monkeypatch):
    """The module `curricula`, which env runners in other processes find, too."""
    (tmp_path / "curricula.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    import curricula

    cloudpickle.register_pickle_by_value(curricula)
    yield curricula
    cloudpickle.unregister_pickle_by_value(curricula)
    sys.modules.pop("curricula")


def maze(callback, mode=None, **env_runners):
    config = elmur_ppo(MAZE, {"corridor_length": 2, "slack": 1.0}, max_seq_len=8)
    config.callbacks(callback).env_runners(**env_runners)
    if mode is not None:
        config.env_runners(gym_env_vectorize_mode=mode)
    return config


def lengths(algo):
    """The corridor's options in all env runners that have environments."""

    def options(runner):
        if runner.env is None:
            return None
        env = runner.env.unwrapped
        env = env.envs[0].unwrapped if hasattr(env, "envs") else env
        return env.corridor_length, env.slack

    found = algo.env_runner_group.foreach_env_runner(options)
    return {each for each in found if each is not None}


def masters_all_stages(algo):
    """Trains until all stages are mastered, and looks at all env runners."""
    assert lengths(algo) == {(2, 1.0)}
    seen = []
    while len(seen) < 20 and seen[-1:] != [2]:
        seen.append(int(algo.train()["curriculum_stage"]))
    assert lengths(algo) == {(9, 3.0)} and seen[0] == 0 and seen[-1] == 2
    assert seen == sorted(seen)
    episodes = algo.env_runner_group.foreach_env_runner(
        lambda runner: runner.sample(num_episodes=2) if runner.env else []
    )
    assert {e.get_infos(-1)["corridor_length"] for part in episodes for e in part} == {9}


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_mastered_stages_change_the_env_runner(mode, curricula):
    algo = maze(curricula.Corridors, mode).build_algo()
    masters_all_stages(algo)
    algo.stop()


def test_a_stage_that_is_not_mastered_stays(curricula):
    class Hard(curricula.Corridors):
        at_least = 1.1

    algo = maze(Hard).build_algo()
    for _ in range(2):
        assert algo.train()["curriculum_stage"] == 0
    assert lengths(algo) == {(2, 1.0)}
    algo.stop()


@pytest.mark.parametrize("way", ["from_checkpoint", "restore_from_path", "load_checkpoint"])
def test_a_restored_training_goes_on_with_its_stage(way, curricula, tmp_path):
    class Once(curricula.Corridors):
        stages = curricula.Corridors.stages[:1]

    algo = maze(Once).build_algo()
    for _ in range(2):
        algo.train()
    path = str(tmp_path / "saved")
    algo.save_to_path(path)
    algo.stop()
    if way == "from_checkpoint":
        again = Algorithm.from_checkpoint(path)
    else:
        again = maze(Once).build_algo()
        getattr(again, way)(path)
    assert lengths(again) == {((5, 6), 1.0)}
    again.stop()


def test_a_restored_stage_is_that_of_the_checkpoint_alone(curricula, tmp_path):
    class Other(curricula.Corridors):
        stages = ({"corridor_length": 5, "slack": 2.0}, {"corridor_length": 9})

    algo, seen = maze(Other).build_algo(), []
    for stage in range(3):
        seen.append(lengths(algo))
        algo.save_to_path(str(tmp_path / str(stage)))
        while stage < 2 and lengths(algo) == seen[-1]:
            algo.train()
            assert algo.training_iteration < 20
    assert seen == [{(2, 1.0)}, {(5, 2.0)}, {(9, 1.0)}]
    for stage in (0, 2, 1):
        algo.restore_from_path(str(tmp_path / str(stage)))
        assert lengths(algo) == seen[stage]
        assert algo.train()["curriculum_stage"] == stage
    algo.stop()


def test_mastered_stages_change_all_env_runners(curricula, ray_is_quiet):
    """Those that are made anew have the stage, too."""
    config = maze(curricula.Corridors, "vector_entry_point", num_env_runners=2)
    algo = config.fault_tolerance(restart_failed_env_runners=True).build_algo()
    masters_all_stages(algo)
    group = algo.env_runner_group

    def pids():
        return group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)

    [pid, _] = pids()
    os.kill(pid, signal.SIGKILL)
    while pid in pids() or group.num_healthy_remote_workers() < 2:
        algo.train()
        assert algo.training_iteration < 120
    assert lengths(algo) == {(9, 3.0)}
    algo.stop()


def test_the_environment_may_be_one_of_the_users_and_the_result_any(curricula):
    algo = elmur_ppo(RandomEnv, {"lengths": [3]}).callbacks(curricula.Steps).build_algo()
    algo.train()
    assert {len(episode) for episode in algo.env_runner.sample(num_episodes=4)} == {5}
    algo.stop()


def test_an_asynchronous_algorithm_changes_its_env_runners_too(curricula, ray_is_quiet):
    config = IMPALAConfig().environment(MAZE, env_config={"corridor_length": 2, "slack": 1.0})
    config.env_runners(num_env_runners=1, rollout_fragment_length=40).learners(num_learners=0)
    config.training(train_batch_size_per_learner=40).callbacks(curricula.Corridors)
    config.reporting(min_time_s_per_iteration=0.5)  # RLlib's is ten seconds
    algo = rllib_elmur.use_elmur(config, max_seq_len=8).build_algo()
    while algo.train().get("curriculum_stage", 0) < 2:
        assert algo.training_iteration < 60
    assert (9, 3.0) in lengths(algo)
    algo.stop()


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "`stages` must hold"),
        ([{"corridor_length": 3}, {"corridor_length": 0}], "stage 2, .*corridor_length=0: must"),
        ([{"corridor_lengt": 3}], "stage 1, .*did you mean 'corridor_length'"),
    ],
)
def test_stages_that_cannot_be_are_refused_at_build(stages, words):
    made = type("Wrong", (rllib_elmur.Curriculum,), {"stages": stages})
    with pytest.raises(UserError, match=words):
        maze(made).build_algo()


def test_a_stage_with_other_spaces_is_refused_at_build():
    made = type("Wider", (rllib_elmur.Curriculum,), {"stages": [{"cues": 5}]})
    with pytest.raises(UserError, match=r"stage 1, .*observation_space would be .* must stay"):
        elmur_ppo("rllib_elmur/TMazeMultiCue-v0").callbacks(made).build_algo()


def test_a_result_that_is_not_reported_is_said_once(curricula, caplog):
    made = type("Misspelt", (curricula.Corridors,), {"result": "env_runners/succes"})
    algo = maze(made).build_algo()
    for _ in range(7):
        algo.train()
    [said] = [r for r in caplog.records if "Misspelt" in r.message]
    assert "Did you mean 'env_runners/success'" in said.message
    algo.stop()


def test_a_file_names_a_curriculum_by_its_class_path(rllib, curricula, tmp_path):
    text = FILE.replace("    lr: 1e-4", "    lr: 1e-4\n    callbacks: curricula.Corridors")
    (tmp_path / "small.yaml").write_text(text)
    folder = tmp_path / "results"
    code, output = rllib(
        *("train", "file", tmp_path / "small.yaml", "--storage-path", folder),
        *("--stop", '{"training_iteration": 3}'),
    )
    assert code == 0, output
    [progress] = folder.glob("*/*/progress.csv")
    names, *rows = [line.split(",") for line in progress.read_text().splitlines()]
    assert float(rows[-1][names.index("curriculum_stage")]) == 2
    assert issubclass(rllib_elmur.Curriculum, SuccessMetric)
