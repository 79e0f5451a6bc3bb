"""Parses commands of the pages as the programs that they name would, without running them."""

import contextlib
import importlib
import re
import shlex
import sys

import typer
from docs_pages import ROOT
from typer.main import get_command

from rllib_elmur.cli.verbs import app

BENCHMARKS, EXAMPLES = ROOT / "tests" / "benchmarks", ROOT / "examples"
PROGRAMS = {}


def parses(*begins):
    """Makes a function what checks the commands that begin with one of these words."""

    def register(function):
        PROGRAMS.update(dict.fromkeys(begins, function))
        return function

    return register


def check(command):
    """Raises an error if the program that a command names would not take it."""
    program, *words = shlex.split(command)
    while "=" in program:  # a variable for this command alone
        program, *words = words
    if program not in PROGRAMS:
        raise ValueError(f"{command}: not a program that the tests know: {', '.join(PROGRAMS)}")
    PROGRAMS[program](words)


@parses("rllib")
def _rllib(words):
    command = get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        command = command.commands[name]
    # What is printed at once ends the command.
    with contextlib.suppress(typer.Exit), command.make_context(command.name, words):
        pass


@parses("python", "python3")
def _python(words):
    first, *words = words
    if first == "-m":
        assert words[0] in ("venv", "rllib_elmur"), words
        return _rllib(words[1:]) if words[0] == "rllib_elmur" and words[1:] else None
    script = ROOT / first
    assert script.is_file(), first
    if script.parent in (BENCHMARKS, EXAMPLES):
        sys.path.insert(0, str(script.parent))
        parser = importlib.import_module(script.stem).command_line()
        parser.exit_on_error = False
        parser.error = _raise
        parser.parse_args(words)
    else:
        assert first == "docs/make.py" and set(words) <= {"--check"}, words


def _raise(message):
    raise ValueError(message)


@parses("pytest")
def _pytest(words):
    for word in words:
        path = word.split("::")[0]
        assert word in ("-m", "learning", "-q", "-x", "-k") or (ROOT / path).exists(), word


@parses("pip")
def _pip(words):
    text = (ROOT / "pyproject.toml").read_text()
    for word in words:
        for extra in re.findall(r"\[(\w+)\]", word):
            assert f"\n{extra} = [" in text, word
        if word.endswith(".txt"):
            assert (ROOT / word).is_file(), word


@parses("ray")
def _ray(words):
    from ray.dashboard.modules.job.cli import job_cli_group
    from ray.scripts.scripts import cli

    command = {"job": job_cli_group}.get(words[0], cli)
    words = words[1:] if words[0] == "job" else words
    command = command.commands[words[0]]
    with command.make_context(command.name, words[1:]):
        pass
    if "--" in words:
        check(shlex.join(words[words.index("--") + 1 :]))


@parses("git", "pre-commit", "ruff", "ty", ".", "tensorboard")
def _other(words):
    """Programs of others, of which little is used."""


@parses(".ci/run", "tests/compat.sh")
def _script(words):
    """Programs of this repository; that they are there is checked with the paths of a page."""
