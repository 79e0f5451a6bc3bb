"""What several groups of tests share."""

import logging

import pytest
import ray
import torch

# Matrices are small: threads wait for each other, and long where other work takes a core.
torch.set_num_threads(1)


@pytest.fixture
def ray_is_quiet():
    """A small Ray on this machine, without what workers log."""
    if not ray.is_initialized():
        ray.init(
            num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    return ray
