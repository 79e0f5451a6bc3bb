"""All problems of a file come in one run: each once, at its line, in the order of lines."""

import itertools
import re

import pytest
from small_training import SMALL

from rllib_elmur.errors import UserError
from rllib_elmur.files.schema import load
from rllib_elmur.files.validator import failures


@pytest.fixture
def problems(tmp_path):
    """The lines and sentences of what is wrong with a file."""

    def read(text):
        file = tmp_path / "file.yaml"
        file.write_text(text)
        with pytest.raises(UserError) as error:
            load(file)
        pattern = re.escape(str(file)) + r"(?::(\d+))?: (.*)"
        found = [re.fullmatch(pattern, line) for line in str(error.value).splitlines()]
        return [(int(match[1] or 0), match[2]) for match in found]

    return read


def line_of(text, part):
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


FORMER = """maze:
  run: PPO
  env: rllib_elmur/TMazePassive-v0
  local_dir: /tmp
  stop:
    timesteps_total: 10
    episode_reward_mean: 1.0
  config:
    num_workers: 2
    num_envs_per_worker: 2
    num_sgd_iter: 3
    sgd_minibatch_size: 100
    train_batch_size: 1000
    model: {use_lstm: true}
    framework: torch
    evaluation_config:
      exploration_config: {type: Random}
"""


def test_eleven_former_keys_are_eleven_lines_of_one_run(problems):
    found = problems(FORMER)
    assert [line for line, _ in found] == [4, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17]
    for line, sentence in found:
        key = FORMER.splitlines()[line - 1].strip().split(":")[0]
        assert f"'{key}'" in sentence


MANY = """first:
  runn: PPO
  env: CartPole-v1
  checkpoint_config: {num_to_keep: 0, checkpoint_frequenci: 3}
second:
  run: PPOO
  config:
    num_gpus: 1
third:
  run: PPO
  env: no.such.Maze
  stop: {success: 1, training_iteration: two}
  config:
    lr: {uniform: [1]}
    lrr: 1e-4
    num_epochs: six
    callbacks: no.such.Callbacks
    lambda_: {grid_search: []}
    rl_module_spec:
      module_class: rllib_elmur.ELMURTorchRLModule
      modell_config: {}
      model_config:
        d_model: 16
        n_layers: 0
        n_headds: 4
        memory_slots: -1
    gamma: yes
    gamma: no
fourth: 7
"""


def test_problems_of_all_kinds_and_experiments_come_together(problems):
    found = problems(MANY)
    expected = [
        (2, "unknown key 'runn'. Did you mean 'run'?"),
        (4, "checkpoint_config.num_to_keep=0: "),
        (4, "unknown key 'checkpoint_frequenci'. Did you mean 'checkpoint_frequency'?"),
        (6, "run='PPOO' is not an algorithm"),
        (8, "'num_gpus' is a key of RLlib's former files"),
        (11, "env='no.such.Maze': "),
        (12, "stop: 'success' is now 'env_runners/success'"),
        (12, "stop: training_iteration='two' must be a number"),
        (14, "uniform: [1] does not fit"),
        (15, "unknown key 'lrr' for PPOConfig. Did you mean 'lr'?"),
        (16, "num_epochs='six' must be a number"),
        (17, "callbacks='no.such.Callbacks': "),
        (18, "grid_search has nothing to choose from"),
        (21, "unknown key 'modell_config' in rl_module_spec"),
        (24, "n_layers=0: must be an integer >= 1"),
        (25, "n_headds=4 is not an option of ELMUR. Did you mean 'n_heads'?"),
        (26, "memory_slots=-1: must be an integer >= 1"),
        (28, "'gamma' stands here and in line 27"),
        (29, "the experiment 'fourth' must be a mapping"),
    ]
    assert len(found) == len(expected), found
    for (line, sentence), (expected_line, begin) in zip(found, expected, strict=True):
        assert line == expected_line and sentence.startswith(begin), sentence


def test_what_is_found_only_in_company_is_named_once(problems):
    text = SMALL.replace("n_layers: 1", "n_layers: 0\n        n_heads: 5")
    # 5 heads divide neither 16 nor the default width; with a width of 20 they do.
    assert [line for line, _ in problems(text)] == [
        line_of(text, "n_layers"),
        line_of(text, "n_heads"),
    ]
    fits = text.replace("d_model: 16", "d_model: 20")
    assert [line for line, _ in problems(fits)] == [line_of(fits, "n_layers")]
    # Whether they would divide a width that is wrong, nobody knows.
    unknown = text.replace("d_model: 16", "d_model: 0").replace("n_layers: 0", "n_layers: 1")
    assert [line for line, _ in problems(unknown)] == [line_of(unknown, "d_model")]


def test_a_default_that_does_not_fit_an_option_is_found_at_the_option(problems):
    text = SMALL.replace("d_model: 16", "d_model: 17")
    [(line, sentence)] = problems(text)
    assert line == line_of(text, "d_model") and "n_heads=2 does not divide d_model=17" in sentence


ENV = """env_config:
      hint_steps: 1
      corridor_length: 0
      slack: 0.5
      penalty: -0.1"""


def test_options_of_an_environment_are_found_at_their_lines(problems):
    text = SMALL.replace("env_config: {corridor_length: 3, slack: 2.0}", ENV)
    found = problems(text.replace("env_config: {slack: 1.0}", "env_config:\n        slak: 1.0"))
    assert [sentence.split(":")[0].split("=")[0] for _, sentence in found] == [
        "corridor_length",
        "slack",
        "unknown option 'slak'",
    ]
    lines = [line_of(text, "corridor_length"), line_of(text, "slack: 0.5")]
    assert [line for line, _ in found][:2] == lines
    assert found[2][0] == line_of(text, "evaluation_config") + 2


CONFLICTS = [
    ("minibatch_size: 100", "minibatch_size: 300", "minibatch_size"),
    ("lr: 1e-4", "entropy_coeff: -1.0", "entropy_coeff"),
    ("lr: 1e-4", "lr: [[0, 1e-4], [100, 1e-5], 3]", "lr:"),
    ("lr: 1e-4", "evaluation_duration: never", "evaluation_duration"),
]


@pytest.mark.parametrize(("old", "new", "key"), CONFLICTS)
def test_what_rllib_refuses_is_found_at_a_key_that_it_goes_away_without(problems, old, new, key):
    text = SMALL.replace(old, new)
    [(line, _)] = problems(text)
    assert line in (line_of(text, key), line_of(text, "train_batch_size_per_learner"))


def test_the_key_behind_a_failure_is_found_on_a_slow_machine_too(monkeypatch):
    clock = itertools.count(step=1.0)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))  # each look at it takes a second

    def attempt(content):
        return ValueError("wrong") if "h" in content else None

    [(key, error)] = failures(dict.fromkeys("abcdefghi"), attempt)
    assert key == "h" and str(error) == "wrong"


def test_of_a_search_the_wrong_values_alone_are_named(problems):
    text = SMALL.replace("d_model: 16", "n_heads: {grid_search: [4, 5, 7, 8]}")
    found = problems(text)
    assert [line for line, _ in found] == [line_of(text, "n_heads")] * 2
    assert [sentence.split()[0] for _, sentence in found] == ["n_heads=5", "n_heads=7"]


def test_a_stack_that_is_gone_is_found_at_the_key_that_asks_for_it(problems):
    text = SMALL.replace("lr: 1e-4", "enable_rl_module_and_learner: false")
    [(line, sentence)] = problems(text)
    assert line == line_of(text, "enable_rl") and "only RLlib's new API stack runs" in sentence


SPACES = """
import gymnasium as gym

class Ragged(gym.Env):
    observation_space = gym.spaces.Sequence(gym.spaces.Discrete(2))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        pass
"""


def test_spaces_without_an_encoder_are_found_at_the_environment(problems, tmp_path):
    (tmp_path / "ragged_maze.py").write_text(SPACES)
    text = SMALL.replace("rllib_elmur/TMazePassive-v0", "ragged_maze.Ragged")
    [(line, sentence)] = problems(text)
    assert line == line_of(text, "env: ragged") and "Sequence" in sentence


def test_a_stop_on_the_command_line_is_refused_with_all_its_problems(rllib, small):
    code, output = rllib("train", "file", small, "--stop", '{"success": 1, "x": "y"}')
    assert code == 1
    assert "--stop: stop: 'success' is now" in output and "--stop: stop: x='y' must" in output
