"""Whether a long IMPALA training stays as large and as fast as it was.

    python tests/benchmarks/soak.py                         5 minutes of warm-up, 15 measured
    python tests/benchmarks/soak.py --warm-up 1 --minutes 3

IMPALA with one remote env runner of sixteen environments and the learner in this process, on a Ray
that is started as by `rllib train`. Every ten seconds: resident memory of this process and of each
of Ray's, but for the object store's; what objects take in that store, the mean of the ten seconds;
shared memory of this machine, which is the store's and other programs'; env steps per second. The
raylet and the workers share the store, and each counts a page of it from when it first looks at
it: shared memory is therefore counted once, by itself. Prints for each the mean and the line
through all samples from the soak's begin to its end. `--save NAME` keeps them.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

import numpy as np
import ray
from distributed import STEPS, impala
from peers import resident, status_of
from results import add_save, save
from rich.console import Console
from rich.table import Table

from rllib_elmur.plugin.process import quiet
from rllib_elmur.runs import cluster

EVERY = 10  # seconds


def processes() -> dict[str, float]:
    """Resident memory of this process and of all below it, in MiB, by process."""
    parents, named = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status_of(status.parent.name)
            command = (status.parent / "cmdline").read_text().split("\0")[0]
        except OSError:  # it has ended
            continue
        pid = int(status.parent.name)
        parents[pid] = int(lines["PPid"])
        # Of a worker it also says what it does just now.
        title = command.split("/")[-1].split(".")[0] or lines["Name"].strip()
        named[pid] = title, resident(lines)
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {f"{named[pid][0]} {pid}, MiB": named[pid][1] for pid in below}


def object_store() -> float:
    """Memory that objects take in this machine's object store, in MiB."""
    total = ray.cluster_resources()["object_store_memory"]
    return (total - ray.available_resources().get("object_store_memory", 0.0)) / 2**20


def env_steps(algorithm) -> float:
    """Trains for an iteration, or more if no sample came in it; returns the env steps so far."""
    while np.isnan(steps := algorithm.train().get(STEPS, np.nan)):
        pass
    return steps


def sample_for(algorithm, seconds: float) -> list[dict[str, float]]:
    """Trains for so long; a sample of everything every `EVERY` seconds."""
    samples, objects, steps, begin = [], [], env_steps(algorithm), time.perf_counter()
    last = begin
    while time.perf_counter() - begin < seconds:
        now_steps = env_steps(algorithm)
        objects.append(object_store())
        if (now := time.perf_counter()) - last >= EVERY:
            of_all = {
                "env steps/s": (now_steps - steps) / (now - last),
                "objects in the store, MiB": np.mean(objects),
                "shared memory, MiB": shutil.disk_usage("/dev/shm").used / 2**20,
            }
            samples.append(of_all | processes())
            objects, steps, last = [], now_steps, now
    return samples


def line(values: list[float]) -> tuple[float, float]:
    """First and last point of the line through the values."""
    slope, begin = np.polyfit(np.arange(len(values)), values, 1)
    return float(begin), float(begin + slope * (len(values) - 1))


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--warm-up", type=float, default=5, help="minutes")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--peer", choices=["ELMUR", "LSTM"], default="ELMUR", help="who trains")
    add_save(parser)
    return parser


def main() -> None:
    """Trains, and prints what grew."""
    arguments = command_line().parse_args()
    with quiet(), cluster.started(None, num_cpus=2, num_gpus=None, verbose=0):
        algorithm = impala(arguments.peer, 1, 16).build_algo()
        sample_for(algorithm, 60 * arguments.warm_up)
        samples = sample_for(algorithm, 60 * arguments.minutes)
        algorithm.stop()
    table, rows = Table("what", "mean", "line from", "to", "rises by", "samples"), []
    for what in sorted({name for sample in samples for name in sample}):
        values = [sample[what] for sample in samples if what in sample]
        if len(values) < 2:
            continue
        mean, (first, last) = float(np.mean(values)), line(values)
        rise = (last - first) / mean if mean else None
        rows.append({"what": what, "mean": mean, "from": first, "to": last, "rises by": rise})
        shown = [f"{v:,.2f}" for v in (mean, first, last)] + [
            "-" if rise is None else f"{rise:+.2%}"
        ]
        table.add_row(what, *shown, str(len(values)))
    Console(highlight=False, width=120).print(table)
    save(arguments.save, rows)


if __name__ == "__main__":
    main()
