"""Episodes of the T-Maze that a scripted policy plays, recorded by RLlib."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner

MAZE = "rllib_elmur/TMazePassive-v0"


class Expert(TorchRLModule):
    """Walks right to the junction and turns as the hint said."""

    def setup(self) -> None:
        self.model_config = {"max_seq_len": 20}

    def get_initial_state(self) -> dict[str, Any]:
        return {"hint": np.zeros((), np.float32)}

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        _, seen, junction, _ = batch[Columns.OBS][:, 0].unbind(-1)
        hint = torch.where(seen != 0, seen, batch[Columns.STATE_IN]["hint"])
        turn = torch.where(hint > 0, 1, 3)
        actions = torch.where(junction > 0, turn, 0)
        return {Columns.ACTIONS: actions[:, None], Columns.STATE_OUT: {"hint": hint}}


def record(
    folder: Path, n_episodes: int, as_episodes: bool = True, batch_mode: str = "complete_episodes"
) -> list[Any]:
    """Lets RLlib record episodes in corridors of 3 to 30 steps; returns them."""
    config = (
        PPOConfig()
        .environment(MAZE, env_config={"corridor_length": [3, 30]})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4, batch_mode=batch_mode)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Expert))
        .offline_data(output=str(folder), output_write_episodes=as_episodes)
        .debugging(seed=0, log_level="ERROR")
    )
    runner = OfflineSingleAgentEnvRunner(config=config)
    episodes = runner.sample(num_episodes=n_episodes)
    runner.stop()
    assert all(episode.get_return() == 1.0 for episode in episodes)
    return episodes
