"""A training that was killed goes on from its last checkpoint; a full disk costs no earlier one."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_training import start

from rllib_elmur.plugin.checkpoints import find

# Trainings in this process share a Ray; the one that is killed starts its own.
pytestmark = pytest.mark.usefixtures("ray_of_one_cpu")

STOP = ("--stop", '{"training_iteration": 1000}')
OPTIONS = ("--ray-num-cpus", "1", "--experiment-name", "maze", "--checkpoint-freq", "1")


@pytest.fixture
def train(rllib):
    """Trains in this process: exit code and what was printed."""
    return lambda *arguments: rllib("train", "file", *arguments, *OPTIONS)


def iterations(trial: Path):
    """Of each result: the iteration, the env steps until then."""
    rows = map(json.loads, (trial / "result.json").read_text().splitlines())
    return [(row["training_iteration"], row["num_env_steps_sampled_lifetime"]) for row in rows]


def test_training_goes_on_after_its_driver_was_killed(small, tmp_path, train):
    process = start("train", "file", small, "--storage-path", tmp_path, *STOP, *OPTIONS)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        saved = list(tmp_path.glob("maze/*/checkpoint_000001"))
        state = list(tmp_path.glob("maze/experiment_state-*.json"))
        # Tune has written its state since that checkpoint.
        if saved and state and state[0].stat().st_mtime > saved[0].stat().st_mtime + 0.5:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()  # Ray's own processes hold it open for a minute
    [trial] = tmp_path.glob("maze/PPO_*")
    done = iterations(trial)
    # Killed in the midst of writing the next one.
    written = sorted(trial.glob("checkpoint_*"))
    half = trial / f"checkpoint_{len(written):06}"
    shutil.copytree(written[0], half)
    (half / "learner_group" / "learner" / "state.pkl").write_bytes(b"\x80")
    assert find(tmp_path / "maze") != half
    shutil.rmtree(half)
    shutil.copytree(written[0], half)  # files are copied side by side: it may be any of them
    (half / "env_runner" / "env_to_module_connector" / "state.pkl").write_bytes(b"\x80")
    assert find(tmp_path / "maze") != half

    last = done[-1][0] + 3
    stop = ("--stop", json.dumps({"training_iteration": last}))
    code, output = train(small, "--storage-path", tmp_path, *stop, "--resume")
    assert code == 0, output
    resumed = iterations(trial)[len(done) :]
    assert [i for i, _ in resumed] == list(range(resumed[0][0], last + 1))
    # At least from the second one, and env steps are counted from there.
    assert 3 <= resumed[0][0] <= done[-1][0] + 1
    before = dict(done)[resumed[0][0] - 1]
    assert [steps for _, steps in resumed] == [before + 200 * (k + 1) for k in range(len(resumed))]


def test_resuming_what_was_cut_short_names_the_checkpoint_to_begin_with(small, tmp_path, train):
    code, output = train(small, "--storage-path", tmp_path, "--stop", '{"training_iteration": 2}')
    assert code == 0, output
    [state] = tmp_path.glob("maze/experiment_state-*.json")
    state.write_text(state.read_text()[:1000])
    code, output = train(small, "--storage-path", tmp_path, *STOP, "--resume")
    [newest] = tmp_path.glob("maze/*/checkpoint_000001")
    assert code == 1 and f"--restore {newest}" in output, output


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for a checkpoint or two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_earlier_checkpoint(small, small_disk, train):
    code, output = train(small, "--storage-path", small_disk, *STOP)
    assert code == 1, output
    newest = find(small_disk)
    assert f"--restore {newest}" in output or "No space left" in output, output
    assert len(list(newest.parent.glob("checkpoint_*"))) > 1  # it is not the one that failed
    code, output = train(
        *(small, "--restore", newest, "--storage-path", small.parent / "other"),
        *("--stop", '{"training_iteration": 1}'),
    )
    assert code == 0, output
