"""A small Ray for each module, and checkpoints of algorithms that have sampled a little."""

import pytest
import torch
from plugin_helpers import shake

from rllib_elmur.plugin.rllib_internals import freeze_filters, pipelines


@pytest.fixture(autouse=True)
def quiet_ray(ray_is_quiet):
    torch.manual_seed(0)


@pytest.fixture
def saved(tmp_path):
    """Makes a checkpoint of a config's algorithm, whose filters have learned and learn no more."""
    made = []

    def save(config, name="policy"):
        config.env_runners(num_envs_per_env_runner=1)
        algo = config.build_algo()
        made.append(algo)
        algo.env_runner.sample(num_timesteps=40)
        freeze_filters(pipelines(algo.env_runner)[0])
        shake(algo)
        algo.save_to_path(tmp_path / name)
        return tmp_path / name, algo

    yield save
    for algo in made:
        algo.stop()
