"""Rays of tests: on this machine, whatever cluster runs, without what they and workers log."""

import functools
import tempfile
from pathlib import Path

import ray
from filelock import FileLock

_LOCK = Path(tempfile.gettempdir()) / "rllib_elmur_tests_start_ray.lock"


def start(num_cpus):
    """Starts one."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init("local", num_cpus=num_cpus, **quiet)


def start_one_at_a_time():
    """Makes all Rays of this process, those that RLlib starts too, start alone and small.

    Ray looks for free ports and takes them later. Of two Rays that start at once one may thus find
    its ports taken, and wait for ever; a dashboard, which no test looks at, takes the most.
    """
    init = ray.init

    @functools.wraps(init)
    def alone(address=None, **options):
        if address is None:
            address, options = "local", {"include_dashboard": False, **options}
        with FileLock(_LOCK):
            return init(address, **options)

    ray.init = alone
