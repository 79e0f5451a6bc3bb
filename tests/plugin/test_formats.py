"""What has another format number is refused by one sentence with both numbers."""

import json
from pathlib import Path

import pytest
import torch
from plugin_helpers import elmur_ppo, learner_module
from ray.rllib.core.rl_module.rl_module import RLModule
from rollouts import algorithm

from rllib_elmur.errors import UserError
from rllib_elmur.plugin import checkpoints, formats
from rllib_elmur.plugin.snapshots import SNAPSHOTS, pack_rows, unpack_rows
from rllib_elmur.runs.restore import begin_with

MODULE = Path("learner_group/learner/rl_module/default_policy")


@pytest.fixture
def algo(ray_is_quiet):
    algo = elmur_ppo().build_algo()
    yield algo
    algo.stop()


def test_a_snapshot_begins_with_the_number_and_comes_back_whole(algo):
    elmur = learner_module(algo).network.elmur
    state = elmur.initial_state(2)
    _, state = elmur(torch.randn(2, 8, elmur.config.d_model), state)
    snapshots = pack_rows(state, elmur)
    assert {snapshot[0] for snapshot in snapshots} == {formats.SNAPSHOT}
    for name, column in unpack_rows(snapshots, elmur).items():
        assert (column == getattr(state, name).detach().numpy()).all(), name


@pytest.mark.parametrize("found", [0, formats.SNAPSHOT + 1, 255])
def test_a_snapshot_of_another_format_is_refused_with_both_numbers(found, algo):
    elmur = learner_module(algo).network.elmur
    [snapshot] = pack_rows(elmur.initial_state(), elmur)
    with pytest.raises(ValueError) as error:
        unpack_rows([None, bytes([found]) + snapshot[1:]], elmur)
    assert f"format {found}," in str(error.value)
    assert f"format {formats.SNAPSHOT}:" in str(error.value)
    assert str(error.value).count(". ") == 0


def test_a_learner_refuses_episodes_with_snapshots_of_another_format(ray_is_quiet):
    algo = algorithm("recorder")
    algo.env_runner.sample(num_timesteps=31)
    episodes = algo.env_runner.sample(num_timesteps=60)
    changed = 0
    for episode in episodes:
        for item in episode.extra_model_outputs[SNAPSHOTS].data:
            snapshots = item[()] if hasattr(item, "shape") else item
            if snapshots is not None and snapshots.before is not None:
                snapshots.before = bytes([7]) + snapshots.before[1:]
                changed += 1
    assert changed
    with pytest.raises(ValueError, match=r"format 7, .* format 1"):
        algo.learner_group.update(episodes=episodes, num_epochs=1)
    algo.stop()


def with_number(path, number):
    """Writes a format number, or none, beside saved weights."""
    file = path / MODULE / "metadata.json"
    metadata = json.loads(file.read_text())
    assert metadata.pop(formats.KEY) == formats.CHECKPOINT
    metadata |= {} if number is None else {formats.KEY: number}
    file.write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("number", "said"), [(None, "no format number"), (0, "format 0"), (1, "format 1")]
)
def test_a_checkpoint_of_another_format_is_refused_wherever_it_is_loaded(
    number, said, algo, tmp_path
):
    path = Path(algo.save_to_path(str(tmp_path / "saved")))
    module = RLModule.from_checkpoint(path / MODULE)
    assert module.network.elmur.config == learner_module(algo).network.elmur.config
    with_number(path, number)
    message = rf"{said}, .* reads format {formats.CHECKPOINT}:"
    with pytest.raises(ValueError, match=message):
        RLModule.from_checkpoint(path / MODULE)
    with pytest.raises(ValueError, match=message):
        algo.restore_from_path(str(path))
    with pytest.raises(UserError, match=message):
        checkpoints.load(path)


def test_a_remote_learner_refuses_it_too_and_rllib_logs_the_sentence(algo, tmp_path, caplog):
    path = Path(algo.save_to_path(str(tmp_path / "saved")))
    with_number(path, 1)
    other = elmur_ppo("rllib_elmur/TMazePassive-v0").learners(num_learners=1).build_algo()
    with pytest.raises(IndexError):  # RLlib finds no learner that has restored
        other.restore_from_path(str(path))
    assert "format 1, and this version of rllib_elmur reads format 4" in caplog.text
    other.stop()


def test_a_training_from_a_file_refuses_it_before_anything_starts(algo, tmp_path):
    path = Path(algo.save_to_path(str(tmp_path / "saved")))
    begin_with(path, elmur_ppo())
    with_number(path, 1)
    with pytest.raises(UserError, match=r"format 1, .* reads format 4"):
        begin_with(path, elmur_ppo())
