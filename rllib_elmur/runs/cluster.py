"""Starts Ray, and reads why a worker of it failed."""

import logging
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import ray

from rllib_elmur.errors import UserError, innermost_error, root_cause
from rllib_elmur.plugin.import_paths import own_paths
from rllib_elmur.plugin.rllib_internals import logs_of_worker


@contextmanager
def started(
    address: str | None, num_cpus: int | None, num_gpus: int | None, verbose: int
) -> Generator[None]:
    """Starts Ray for the time of a `with` block; without `address` on this machine alone.

    Args:
        address: The address of a running cluster, or None.
        num_cpus: CPUs to offer on this machine; None: all.
        num_gpus: GPUs to offer on this machine; None: all.
        verbose: 0 keeps what Ray, RLlib and their workers log off the screen.
    """
    # The progress callback takes Ctrl-C over from Tune, and lets trials save first.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "0"
    # What `--resume` finds after a power cut is at most a second old; Tune would wait ten.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")
    # Workers import by path what the file names, from where this process would.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys([*own_paths(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    ).strip(os.pathsep)
    options: dict[str, Any] = {"address": address}
    if not address:
        # A cluster that happens to run here, or RAY_ADDRESS, would be joined otherwise.
        options = {"address": "local", "include_dashboard": False}
        options |= {"num_cpus": num_cpus, "num_gpus": num_gpus}
        # Ray would keep a history of up to 100,000 tasks for a dashboard that is not there.
        os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
        # Beside other work on the cores, workers at Ray's niceness of 15 all but stand still.
        os.environ.setdefault("RAY_worker_niceness", "0")
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(
                log_to_driver=verbose > 0,
                logging_level=logging.INFO if verbose > 1 else logging.ERROR,
                **options,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"Ray could not be started: {error}") from error
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def require_resources(config: Any, name: str) -> None:
    """Refuses an experiment that would wait for ever on resources the cluster does not have."""
    wanted = config.algo_class.default_resource_request(config).required_resources
    offered = ray.cluster_resources()
    for kind, number in wanted.items():
        if number > offered.get(kind, 0):
            flag = {"CPU": "--ray-num-cpus", "GPU": "--ray-num-gpus"}.get(kind)
            more = f"let it count more with {flag} {number:g}, or " if flag else ""
            raise UserError(
                f"{name}: a trial needs {number:g} {kind} and Ray counts {offered.get(kind, 0):g}. "
                "Lower num_env_runners, num_learners or their num_cpus_per_... and "
                f"num_gpus_per_... in the config, {more}use a cluster with --ray-address."
            )


def cause_of(error: BaseException) -> str:
    """Returns why a worker failed, in a line or a few, without the wrapping of Ray and RLlib."""
    cause = root_cause(error)
    text = str(cause)
    log = _log_of_dead_worker(text)
    if log:
        return innermost_error(log)
    if not text.strip():
        # RLlib raises an empty error from the environment's; the traceback holds both.
        return innermost_error(str(error))
    if "Traceback (most recent call last)" in text or re.search(r'^  File "', text, re.M):
        return innermost_error(text)
    return f"{type(cause).__name__}: {text}"


def _log_of_dead_worker(text: str) -> str | None:
    """What a worker of this machine wrote before it ended itself; RLlib's runners do on an error.

    Their error stands in their log alone.
    """
    pid = re.search(r"^\s*pid: (\d+)", text, re.M)
    if pid is None:
        return None
    found = "\n".join(path.read_text(errors="replace") for path in logs_of_worker(pid[1]))
    return found if "Traceback" in found else None
