"""The same file on a cluster, whose nodes know nothing of the driver; a node may go."""

import json

import pytest
from ray.cluster_utils import Cluster
from small_training import SMALL, start

RUNNERS = """num_env_runners: 2
    num_cpus_per_env_runner: 0
    custom_resources_per_env_runner: {runner: 1}
    num_learners: 0
    min_time_s_per_iteration: 2"""


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


@pytest.mark.parametrize("algorithm", ["PPO", "IMPALA"])
def test_training_survives_the_loss_of_a_node(cluster, algorithm, tmp_path):
    file = tmp_path / "small.yaml"
    text = SMALL.replace("num_env_runners: 0", RUNNERS)
    if algorithm == "IMPALA":
        text = text.replace("PPO", "IMPALA").replace(
            "    minibatch_size: 100\n    num_epochs: 1\n", ""
        )
    file.write_text(text)
    options = ("--storage-path", tmp_path, "--ray-address", cluster.address)
    stop = ("--stop", '{"training_iteration": 15}')
    process = start("train", "file", file, *options, *stop, cwd=tmp_path)
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.split()[:1] == ["3"] and cluster.runners:
            cluster.remove_node(cluster.runners.pop(), allow_graceful=False)
            cluster.runners.append(cluster.add_node(num_cpus=0, resources={"runner": 1}))
    assert process.wait() == 0, "".join(lines)
    [results] = tmp_path.glob("maze*/*/result.json")
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(rows) == 15
    steps = [row["num_env_steps_sampled_lifetime"] for row in rows]
    assert steps == sorted(steps) and steps[-1] > steps[3]
    workers = [row["fault_tolerance"] for row in rows]
    assert workers[-1]["num_healthy_workers"] == 2
    assert workers[-1]["num_remote_worker_restarts"] > 0
