"""The README's commands run, and every page's code does."""

import os
import shlex
import shutil
import subprocess
import sys

import docs_pages
import pytest
from docs_pages import PAGES, ROOT, blocks

from rllib_elmur.files import schema
from rllib_elmur.proof.callback import report_certified

README = "README.md"
# What sets an environment up has run before these tests do.
SET_UP = ("python3 -m venv", ". .venv", "pip install", "pytest")
SHORT = ["--stop", '{"num_env_steps_sampled_lifetime": 4000}']
CLI = "docs/cli.md"


def with_blocks(language):
    return [page for page in PAGES if blocks(page, language)]


def rllib_commands(page):
    found = [c for c in docs_pages.commands(page) if not c.startswith(SET_UP)]
    assert all(command.startswith("rllib ") for command in found)
    return [shlex.split(command) for command in found]


def execute(page, names):
    for block in blocks(page, "python"):
        exec(compile(block.text, page, "exec"), names)
    return names


def run(words, folder):
    """Runs a command in a process of its own: its exit code and everything it printed."""
    program = [sys.executable, "-m", "rllib_elmur", *words[1:]]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, env=os.environ)
    return done.returncode, done.stdout + done.stderr


def in_diff(sign):
    """A version of the README's diff block: the lines without a sign and those with `sign`."""
    (block,) = blocks(README, "diff")
    return "\n".join(line[1:] for line in block.text.splitlines() if line[:1] in (" ", sign))


@pytest.fixture(scope="module")
def readme_names(tmp_path_factory):
    """The names that the README's blocks define; those of the other pages may use them."""
    import quiet_ray
    import ray

    if not ray.is_initialized():
        quiet_ray.start(num_cpus=3)
    return execute(README, {})


def test_the_readmes_python_blocks_run_one_after_the_other(readme_names):
    assert readme_names["result"]["num_env_steps_sampled_lifetime"] > 0


@pytest.mark.parametrize("page", [page for page in with_blocks("python") if page != README])
def test_a_pages_python_blocks_run_after_the_readmes(page, readme_names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    execute(page, dict(readme_names))


def test_both_sides_of_the_readmes_diff_build_an_algorithm(ray_is_quiet):
    modules = []
    for sign in "-+":
        names = {}
        exec(compile(in_diff(sign), README, "exec"), names)
        algo = names["config"].build_algo()
        modules.append(type(algo.get_module()).__name__)
        algo.stop()
    assert modules == ["DefaultPPOTorchRLModule", "ELMURTorchRLModule"]


@pytest.mark.parametrize("page", with_blocks("yaml"))
def test_a_pages_yaml_blocks_are_experiments_that_could_start(page, tmp_path):
    file = tmp_path / "experiments.yaml"
    for block in blocks(page, "yaml"):
        file.write_text(block.text)
        for experiment in schema.load(file):
            assert experiment.trials
            if "certified" in experiment.stop:
                report_certified(experiment.trials[0].config)


def ends_well(words, code, printed):
    # What was trained for an instant is refuted.
    expected = [0, 1] if words[1] == "certify" else [0]
    assert code in expected, f"{shlex.join(words)}\n{printed}"
    assert "Error" not in printed


def test_the_readmes_commands_run_from_a_fresh_folder(tmp_path):
    for words in rllib_commands(README):
        if words[1:3] == ["example", "run"]:
            words += SHORT
        words = [word.replace("[100, 1000, 10000]", "[5, 10]") for word in words]
        ends_well(words, *run(words, tmp_path))


def test_the_commands_of_the_command_line_run(tmp_path, monkeypatch, rllib, ray_is_quiet):
    shutil.copytree(ROOT / "tuned_examples", tmp_path / "tuned_examples")
    monkeypatch.chdir(tmp_path)
    for words in rllib_commands(CLI):
        if "CHECKPOINT" not in words:
            ends_well(words, *rllib(*words[1:]))
    for picture in ("success.png", "report.png"):
        assert (tmp_path / picture).stat().st_size > 0


@pytest.mark.learning
def test_first_command_ends_with_a_memory_that_holds_ten_thousand_steps(tmp_path):
    train, evaluate, certify = rllib_commands(README)
    for words in (train, [*evaluate, "--out", str(tmp_path / "table.csv")]):
        code, printed = run(words, tmp_path)
        assert code == 0, printed
    assert "Proven for every length" in run(certify, tmp_path)[1]
    header, *rows = (tmp_path / "table.csv").read_text().splitlines()
    success = header.split(",").index("success")
    assert [float(row.split(",")[success]) for row in rows] == [1.0, 1.0, 1.0]
