"""The verbs and flags are a promise: a change of them must be meant."""

import subprocess
import sys

import pytest
from typer.main import get_command

import rllib_elmur
from rllib_elmur.cli.verbs import app

TRAIN = {
    *("--stop", "--checkpoint-freq", "--checkpoint-at-end", "--keep-checkpoints-num"),
    *("--num-samples", "--storage-path", "--experiment-name", "--restore", "--resume"),
    *("--verbose", "-v", "--ray-address", "--ray-num-cpus", "--ray-num-gpus"),
}
PROMISED = {
    "": {"--version"},
    "train": {*TRAIN, "--run", "--env", "--config"},
    "train file": TRAIN,
    "evaluate": {
        *("--env", "--env-config", "--sweep", "--episodes", "--steps", "--seed", "--render"),
        *("--out", "--explore", "--max-episode-steps", "--video"),
    },
    "certify": {"--env", "--env-config", "--max-states", "--out", "--task"},
    "report": {"--segments", "--out", "--task"},
    "example list": set(),
    "example get": {"--out"},
    "example run": TRAIN,
}


def verbs(command, name=""):
    options = {flag for p in command.params for flag in p.opts if flag.startswith("-")}
    if not hasattr(command, "commands"):
        return {name.strip(): options}
    found = {name.strip(): options} if options else {}
    for word, inner in command.commands.items():
        found |= verbs(inner, f"{name} {word}")
    return found


def rllib(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "rllib_elmur", *arguments], capture_output=True, text=True
    )


def test_verbs_and_flags_are_the_promised_ones():
    assert verbs(get_command(app)) == PROMISED


def test_help_is_there_at_once(monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    helped = rllib("--help")
    assert "train" in helped.stdout
    imported = {line.rpartition("|")[2].strip() for line in helped.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint({"ray", "torch"})  # half a second without them, many with them


def test_versions_are_printed():
    printed = rllib("--version").stdout
    assert printed.startswith(f"rllib_elmur {rllib_elmur.__version__}, ray ")


def test_examples_are_listed_with_their_first_line_and_printed():
    listed = rllib("example", "list").stdout
    assert "tmaze-ppo " in listed and "stateless-cartpole-ppo" in listed
    text = rllib("example", "get", "tmaze-ppo").stdout
    assert text.startswith("# ") and text.splitlines()[0].lstrip("# ") in listed


def test_an_unknown_example_names_the_nearest():
    result = rllib("example", "get", "tmaze-pp")
    assert result.returncode == 1 and "Did you mean 'tmaze-ppo'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (["train", "file", "x.yaml", "--framework", "torch"], "PyTorch only"),
        (["train", "file", "x.yaml", "--framework=torch"], "PyTorch only"),
        (["train", "file", "x.yaml", "--local-dir", "y"], "--storage-path"),
        (["train", "file", "x.yaml", "--trace"], "leave the option out"),
        (["train", "run", "PPO"], "rllib train --run"),
        (["train", "--algo", "PPO", "--env", "CartPole-v1"], "use --run"),
        (["train", "--env", "CartPole-v1"], "--run: name an algorithm"),
        (["evaluate", "x", "--algo", "PPO"], "leave the option out"),
        (["rollout", "x"], "rllib evaluate"),
    ],
)
def test_a_former_argument_says_what_to_do_instead(arguments, instead):
    result = rllib(*arguments)
    assert result.returncode == 1 and instead in result.stderr


def test_every_example_is_a_valid_file():
    from rllib_elmur.cli import examples
    from rllib_elmur.files import schema

    for name in examples.descriptions():
        assert [e.name for e in schema.load(examples.path_of(name))] == [name]
