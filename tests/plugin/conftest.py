"""One local Ray for all tests of the plug-in."""

import os
from collections.abc import Iterator

import pytest
import quiet_ray
import ray
import torch

# Before any worker starts, so that it inherits this.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def local_ray() -> Iterator[None]:
    started = not ray.is_initialized()
    if started:
        quiet_ray.start(num_cpus=2)
    yield
    if started:
        ray.shutdown()


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
