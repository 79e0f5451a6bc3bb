"""The README's blocks run, and its table of options is the code's."""

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_elmur.config import ELMURConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
# What sets an environment up has run before these tests do.
SET_UP = ("python3 -m venv", ". .venv", "pip install", "pytest")
SHORT = ["--stop", '{"num_env_steps_sampled_lifetime": 4000}']


def blocks(language):
    return [text for kind, text in BLOCKS if kind == language]


def commands():
    """The `rllib` commands of the shell blocks, in order."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split(" && ")]
    return [part for part in parts if part and not part.startswith(SET_UP)]


def in_diff(sign):
    """A version of the diff block: the lines without a sign and those with `sign`."""
    (block,) = blocks("diff")
    return "\n".join(line[1:] for line in block.splitlines() if line[:1] in (" ", sign))


def run(words, folder):
    program = [sys.executable, "-m", "rllib_elmur", *words[1:]]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, env=os.environ)


def test_every_block_is_of_a_kind_that_is_run():
    assert {kind for kind, _ in BLOCKS} == {"bash", "python", "diff", "text"}


def test_python_blocks_run_one_after_the_other(ray_is_quiet):
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["result"]["num_env_steps_sampled_lifetime"] > 0
    assert "success" in names["info"]


def test_both_sides_of_the_diff_build_an_algorithm(ray_is_quiet):
    modules = []
    for sign in "-+":
        names = {}
        exec(compile(in_diff(sign), "README.md", "exec"), names)
        algo = names["config"].build_algo()
        modules.append(type(algo.get_module()).__name__)
        algo.stop()
    assert modules == ["DefaultPPOTorchRLModule", "ELMURTorchRLModule"]


def test_commands_run_from_a_fresh_folder(tmp_path):
    shutil.copytree(ROOT / "tuned_examples", tmp_path / "tuned_examples")
    for command in commands():
        words = shlex.split(command)
        assert words[0] == "rllib"
        if words[1:3] == ["example", "run"]:
            words += SHORT
        words = [word.replace("[100, 1000, 10000]", "[5, 10]") for word in words]
        done = run(words, tmp_path)
        # What was trained for an instant is refuted.
        expected = [0, 1] if words[1] == "certify" else [0]
        assert done.returncode in expected, f"{command}\n{done.stdout}\n{done.stderr}"
    for picture in ("success.png", "report.png"):
        assert (tmp_path / picture).stat().st_size > 0


@pytest.mark.learning
def test_first_command_ends_with_a_memory_that_holds_ten_thousand_steps(tmp_path):
    train, evaluate, certify = (shlex.split(command) for command in commands()[:3])
    assert run(train, tmp_path).returncode == 0
    done = run([*evaluate, "--out", str(tmp_path / "table.csv")], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Proven for every length" in run(certify, tmp_path).stdout
    header, *rows = (tmp_path / "table.csv").read_text().splitlines()
    success = header.split(",").index("success")
    assert [float(row.split(",")[success]) for row in rows] == [1.0, 1.0, 1.0]


def option_table():
    lines = ["| option | default | what it does |", "| --- | --- | --- |"]
    lines += [
        f"| `{option.name}` | {option.default} | {option.metadata['help']} |"
        for option in dataclasses.fields(ELMURConfig)
    ]
    return "\n".join(lines)


def test_option_table_is_that_of_the_config():
    assert option_table() in README
