"""What several groups of tests share."""

import inspect
import os
import signal
import sys
from pathlib import Path

import pytest
import quiet_ray
import ray
import torch
from small_training import ROUNDED, SMALL

# Before any Ray starts: at its niceness of 15 workers all but stand still beside other work.
os.environ.setdefault("RAY_worker_niceness", "0")
# A shell makes what it starts in the background ignore Ctrl-C, and so would what tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Before the command is imported, which then knows how wide its tables may be.
os.environ["COLUMNS"] = "200"
# Matrices are small: threads wait for each other, and long where other work takes a core.
torch.set_num_threads(1)
quiet_ray.start_one_at_a_time()


# Folders whose tests take long and are few in a file. They come first, so that at the end no
# process waits for a long file of the other; the others keep their order, and their Ray.
LONG = ("runs", "docs", "benchmarks", "report", "proof")


def pytest_configure(config):
    """Spares RLlib's connectors a search: each asks for the whole stack of calls that makes it.

    Of the files in it some are no module's where xdist has started the process, and Python would
    look for them among all modules, each time anew: half of the seconds that an algorithm takes.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if inspect.getmodule(frame) is None:
            inspect.modulesbyfile[frame.f_code.co_filename] = ""
        frame = frame.f_back
    config.option.loadscopereorder = False  # else xdist begins with the files of most tests


def pytest_collection_modifyitems(items):
    """Long files come first; a test that trains for minutes may take as long as it needs."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)
    for item in items:
        if item.get_closest_marker("learning"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="module", autouse=True)
def no_ray_of_others(request):
    """A module begins without the Ray of one before it; these folders' modules share theirs."""
    if request.path.parent.name not in ("plugin", "acting"):
        ray.shutdown()


@pytest.fixture(scope="module")
def ray_of_one_cpu():
    """A small Ray that a module's trainings in this process share."""
    quiet_ray.start(num_cpus=1)
    yield
    ray.shutdown()


@pytest.fixture
def ray_is_quiet():
    """A small Ray on this machine, without what workers log."""
    if not ray.is_initialized():
        quiet_ray.start(num_cpus=3)
    return ray


@pytest.fixture
def rllib(monkeypatch, capsys):
    """Runs the command in this process: exit code and everything it printed."""
    from rllib_elmur.cli.verbs import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rllib", *map(str, arguments)])
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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A policy with a rounded memory that has learned next to nothing."""
    from rllib_elmur.runs.options import TrainOptions
    from rllib_elmur.runs.train import train

    folder = tmp_path_factory.mktemp("checkpoint")
    file = folder / "small.yaml"
    file.write_text(ROUNDED)
    (result,) = train(file, TrainOptions(storage_path=folder, experiment_name="small"))
    return result.checkpoints[0]
