import sys
from pathlib import Path

import pytest
from small_training import SMALL

from rllib_elmur.cli.verbs import main


@pytest.fixture
def rllib(monkeypatch, capsys):
    """Runs the command in this process: exit code and everything it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rllib", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return exit_.value.code or 0, printed.out + printed.err

    return run


@pytest.fixture
def small(tmp_path) -> Path:
    """A file with a training that takes seconds."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file
