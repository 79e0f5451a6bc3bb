"""The same file on a cluster, whose nodes know nothing of the driver; a node may go."""

import json
import os
import signal

import pytest
from ray.cluster_utils import Cluster
from small_training import SMALL, start

RUNNERS = """num_env_runners: 2
    num_cpus_per_env_runner: 0
    custom_resources_per_env_runner: {runner: 1}
    num_learners: 0
    min_time_s_per_iteration: 0.5"""


@pytest.fixture(scope="module")
def cluster():
    """Three nodes: one for the trial, two for an env runner each."""
    probes = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "_system_config": probes}  # a lost node is noticed in seconds
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.runners = [cluster.add_node(num_cpus=0, resources={"runner": 1}) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def results(folder):
    """What the training has written until now."""
    lines = [line for file in folder.glob("maze*/*/result.json") for line in file.open()]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def whole(result):
    """Whether a lost env runner is there again."""
    workers = result["fault_tolerance"]
    return workers["num_healthy_workers"] == 2 and workers["num_remote_worker_restarts"] > 0


# `tests/plugin/test_faults.py` has the death of an env runner for both.
@pytest.mark.parametrize("algorithm", ["PPO", pytest.param("IMPALA", marks=pytest.mark.learning)])
def test_training_survives_the_loss_of_a_node(cluster, algorithm, tmp_path):
    file = tmp_path / "small.yaml"
    text = SMALL.replace("num_env_runners: 0", RUNNERS)
    if algorithm == "IMPALA":
        text = text.replace("PPO", "IMPALA").replace(
            "    minibatch_size: 100\n    num_epochs: 1\n", ""
        )
    file.write_text(text)
    options = ("--storage-path", tmp_path, "--ray-address", cluster.address)
    stop = ("--stop", '{"training_iteration": 300}')
    process = start("train", "file", file, *options, *stop, cwd=tmp_path)
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.split()[:1] == ["3"] and cluster.runners:
            cluster.remove_node(cluster.runners.pop(), allow_graceful=False)
            cluster.runners.append(cluster.add_node(num_cpus=0, resources={"runner": 1}))
        if sum(map(whole, results(tmp_path))) >= 4:  # and trains
            os.killpg(process.pid, signal.SIGINT)
            break
    lines += process.stdout.readlines()
    assert process.wait() == 130, "".join(lines)
    rows = results(tmp_path)
    steps = [row["num_env_steps_sampled_lifetime"] for row in rows]
    again = next(i for i, row in enumerate(rows) if whole(row))
    assert steps == sorted(steps) and steps[-1] > steps[again] > steps[2]
    assert whole(rows[-1])
