"""What the config of a training shows that it goes without is on the screen, once."""

import logging

import pytest
import ray
from small_training import SMALL

from rllib_elmur.plugin.process import quiet


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


PYTHON = """
import rllib_elmur
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

options = {"d_model": 16, "n_layers": 1, "segment_length": 5, "max_seq_len": 10}
config = PPOConfig().environment(
    "rllib_elmur/TMazePassive-v0", env_config={"corridor_length": 3, "slack": 2.0}
)
config.env_runners(num_env_runners=0)
config.training(train_batch_size_per_learner=200, minibatch_size=100, num_epochs=1)
"""
CONNECTOR = """
rllib_elmur.use_elmur(config, **options)
config.learners(learner_connector=lambda *spaces: [])
"""
BY_HAND = """
spec = RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule, model_config=options)
config.rl_module(rl_module_spec=spec)
"""
CASES = {
    "a learner connector afterwards": (
        PYTHON + CONNECTOR,
        ("replaced its learner connector", "Call `rllib_elmur.use_elmur(config, ...)` after"),
    ),
    "a spec by hand": (
        PYTHON + BY_HAND,
        ("by hand", "Call `rllib_elmur.use_elmur(config, d_model=16"),
    ),
}


def printed(rllib, file):
    """What a training of one iteration prints."""
    stop = ("--stop", '{"training_iteration": 1}', "--storage-path", file.parent)
    code, output = rllib("train", "file", file, *stop)
    assert code == 0, output
    return output.splitlines()


@pytest.mark.parametrize("case", CASES)
def test_a_dense_state_of_a_python_file_is_told_once_with_its_reason_and_what_mends_it(
    case, rllib, tmp_path
):
    text, sentences = CASES[case]
    file = tmp_path / "small.py"
    file.write_text(text)
    [note] = [line for line in printed(rllib, file) if " bytes per env step" in line]
    assert all(sentence in note for sentence in sentences)


def test_short_sequences_and_no_kl_loss_are_told_once_and_nothing_of_a_state_that_is_sparse(
    rllib, tmp_path
):
    file = tmp_path / "small.yaml"
    text = SMALL.replace("max_seq_len: 10", "max_seq_len: 9\n        segment_length: 5")
    lr = "lr: {grid_search: [0, 1e-4]}\n    use_kl_loss: false"
    file.write_text(text.replace("lr: 1e-4", lr))
    lines = printed(rllib, file)
    [note] = [line for line in lines if "less than two segments" in line]
    assert note.startswith("max_seq_len=9 ") and "at least 10" in note
    [note] = [line for line in lines if "use_kl_loss=False" in line]
    assert "0.997 to 0.59" in note and "use_kl_loss=True" in note
    assert not [line for line in lines if "bytes per env step" in line]


def test_a_training_that_goes_without_nothing_is_told_nothing(rllib, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    lines = printed(rllib, file)
    for word in ("use_kl_loss", "less than two segments", "bytes per env step"):
        assert not [line for line in lines if word in line]


def test_what_this_package_logs_is_heard_where_ray_is_quiet(caplog):
    def log():
        for name in ("rllib_elmur", "ray.rllib"):
            logging.getLogger(name).warning(name)

    with quiet():
        log()
    assert [record.name for record in caplog.records] == ["rllib_elmur"]
    caplog.clear()
    logging.disable(logging.ERROR)
    log()
    logging.disable(logging.NOTSET)
    assert caplog.records == []
