"""A training keeps its share of the cores beside other work."""

import os
import subprocess
import sys

import ray

from rllib_elmur.runs.cluster import started

CODE = """
import os
import ray
from rllib_elmur.runs.cluster import started

with started(None, 1, 0, 0):
    niceness = ray.remote(lambda: os.nice(0))
    print("niceness", ray.get(niceness.remote()))
"""


def test_workers_of_a_ray_that_the_command_starts_are_as_important_as_the_command():
    environment = {k: v for k, v in os.environ.items() if k != "RAY_worker_niceness"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=120
    )
    assert f"niceness {os.nice(0)}" in done.stdout, done.stderr


def test_without_an_address_ray_starts_here_whatever_cluster_runs(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # where nothing answers
    with started(None, num_cpus=1, num_gpus=0, verbose=0):
        assert ray.cluster_resources()["CPU"] == 1
