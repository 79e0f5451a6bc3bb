"""A Ray on this machine, whatever cluster runs, without what it and its workers log."""

import ray


def start(num_cpus):
    """Starts it."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init("local", num_cpus=num_cpus, **quiet)
