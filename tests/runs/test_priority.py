"""A training keeps its share of the cores beside other work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from rllib_elmur.runs.cluster import started

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COMMAND = """
import os
import ray
from rllib_elmur.runs.cluster import started

with started(None, 1, 0, 0):
    niceness = ray.remote(lambda: os.nice(0))
    print("niceness", ray.get(niceness.remote()))
"""
BENCHMARK = f"""
import os
import sys
import ray
sys.path.insert(0, {str(BENCHMARKS)!r})
import results

ray.init("local", num_cpus=1, include_dashboard=False)
niceness = ray.remote(lambda: os.nice(0))
print("niceness", ray.get(niceness.remote()))
"""


@pytest.mark.parametrize("code", [COMMAND, BENCHMARK], ids=["the command", "a benchmark"])
def test_workers_are_as_important_as_what_starts_ray(code):
    environment = {k: v for k, v in os.environ.items() if k != "RAY_worker_niceness"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert f"niceness {os.nice(0)}" in done.stdout, done.stderr


def test_without_an_address_ray_starts_here_whatever_cluster_runs(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # where nothing answers
    with started(None, num_cpus=1, num_gpus=0, verbose=0):
        assert ray.cluster_resources()["CPU"] == 1
