"""What is wrong with a file is one message with file and line, before Ray starts."""

import pytest
import ray
from small_training import SMALL

from rllib_elmur.files.former_keys import MEMORY_KEYS

LINES = SMALL.splitlines()


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(LINES, 1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("lr:", "lrr:", ["'lrr'", "Did you mean 'lr'"]),
        ("num_epochs:", "num_sgd_iter:", ["former", "num_epochs"]),
        ("num_epochs:", "num_workers:", ["former", "num_env_runners"]),
        ("minibatch_size:", "sgd_minibatch_size:", ["former", "minibatch_size"]),
        ("lr: 1e-4", "framework: tf", ["former", "PyTorch"]),
        ("lr: 1e-4", "num_gpus: 1", ["former", "num_gpus_per_learner"]),
        ("lr: 1e-4", "entropy_coeff_schedule: [[0, 1]]", ["former", "entropy_coeff: [["]),
        ("num_epochs: 1", "num_epochs: six", ["num_epochs='six'", "number"]),
        ("run: PPO", "run: PPOO", ["'PPOO'", "Did you mean 'PPO'"]),
        ("env: rllib_elmur/TMazePassive-v0", "env: CartPoole-v1", ["Did you mean 'CartPole"]),
        ("env: rllib_elmur/TMazePassive-v0", "env: no.such.Maze", ["no.such.Maze", "package."]),
        ("run: PPO", "runn: PPO", ["'runn'", "Did you mean 'run'"]),
        ("d_model: 16", "d_modell: 16", ["d_modell", "Did you mean 'd_model'"]),
        ("d_model: 16", "n_heads: 5", ["n_heads=5"]),
        ("n_layers: 1", "n_layers: 0", ["n_layers=0", ">= 1"]),
        ("n_layers: 1", "weight_decay: 0.5", ["weight_decay=0.5", "`learner_config_dict`"]),
        ("n_layers: 1", "previous_action: 3", ["previous_action=3", "a bool"]),
        ("lr: 1e-4", "learner_config_dict: {weight_decai: 1}", ["Did you mean 'weight_decay'"]),
        ("lr: 1e-4", "learner_config_dict: {weight_decay: -1}", ["weight_decay=-1", ">= 0.0"]),
        ("lr: 1e-4", "use_attention: true", ["former", "rllib_elmur.ELMURTorchRLModule"]),
        ("lr: 1e-4", "model: {attention_dim: 64}", ["'model'", "'attention_dim'", "use d_model"]),
        ("d_model: 16", "attention_num_heads: 2", ["former", "use n_heads in the model_config"]),
        ("lr: 1e-4", "replay_buffer_config: {replay_burn_in: 20}", ["'replay_burn_in'", "nothing"]),
        ("lr: 1e-4", "zero_init_states: false", ["former", "the state that the policy had"]),
        ("lr: 1e-4", "model_config: {use_attention: true}", ["'use_attention'", "memory"]),
        ("minibatch_size: 100", "minibatch_size: 9", ["max_seq_len=10", ">= 10"]),
        ("lr: 1e-4", "learner_config_dict: [weight_decay]", ["must be a mapping"]),
        ("    env_config: {corridor_length: 3", "    env_config: {corridor_length: 0", ["=0"]),
        ("stop: {training_iteration", "stop: {timesteps_total", ["num_env_steps_sampled_lifetime"]),
        ("    lr: 1e-4", "    gamma: {choise: [0.9]}", ["gamma", "number"]),
    ],
)
def test_a_wrong_entry_is_named_with_file_and_line(rllib, tmp_path, old, new, expected):
    file = tmp_path / "wrong.yaml"
    file.write_text(SMALL.replace(old, new, 1))
    code, output = rllib("train", "file", file)
    assert code == 1
    for part in [f"{file}:{line_of(old)}: ", *expected]:
        assert part in output
    assert "Traceback" not in output
    assert not ray.is_initialized()


def test_every_former_key_of_attention_nets_and_of_burn_in_is_answered_once(rllib, tmp_path):
    file = tmp_path / "wrong.yaml"
    given = "".join(f"    {key}: 1\n" for key in MEMORY_KEYS)
    file.write_text(SMALL.replace("    lr: 1e-4\n", given))
    code, output = rllib("train", "file", file)
    lines = output.splitlines()
    assert code == 1 and len(lines) == len(MEMORY_KEYS)
    for key, line in zip(MEMORY_KEYS, lines, strict=True):
        assert f"{key!r} is a key of RLlib's former files: use " in line


def test_algorithms_without_a_value_function_on_sequences_are_refused(rllib, tmp_path):
    file = tmp_path / "dqn.yaml"
    drop = ("minibatch", "num_epochs")
    text = "\n".join(x for x in LINES if not x.strip().startswith(drop))
    file.write_text(text.replace("run: PPO", "run: DQN"))
    code, output = rllib("train", "file", file)
    assert code == 1 and "DQN is not supported" in output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "no such file"),
        ("", "must be a mapping"),
        ("- a\n- b\n", "must be a mapping"),
        ("a:\n  run: PPO\n  config: {lr: [}\n", ":3: not valid YAML"),
        ("a:\n  run: PPO\n  run: DQN\n", ":3: 'run' stands here and in line 2"),
        ("a: 3\n", "must be a mapping with the keys"),
        ("a: {env: CartPole-v1}\n", "lacks the key 'run'"),
        ("a: {run: PPO}\n", "the key 'env' is missing"),
    ],
)
def test_a_file_that_is_no_set_of_experiments_is_refused(rllib, tmp_path, text, expected):
    file = tmp_path / "file.yaml"
    if text is not None:
        file.write_text(text)
    code, output = rllib("train", "file", file)
    assert code == 1 and expected in output and str(file) in output


def test_a_python_file_must_define_a_config(rllib, tmp_path):
    file = tmp_path / "file.py"
    file.write_text("x = 1\n")
    assert "must define `config`" in rllib("train", "file", file)[1]
    file.write_text("x = 1\ny = z\n")
    assert f"{file}:2: NameError" in rllib("train", "file", file)[1]


def test_a_checkpoint_that_is_none_is_refused(rllib, tmp_path):
    assert "no such checkpoint" in rllib("evaluate", tmp_path / "nothing")[1]
    assert "holds none" in rllib("evaluate", tmp_path)[1]
