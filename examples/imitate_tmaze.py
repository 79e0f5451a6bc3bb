"""Records a scripted player of the T-Maze, imitates it by BC, and proves what came of it.

    pip install 'rllib_elmur[offline]'
    python examples/imitate_tmaze.py FOLDER

FOLDER gets the recording and the checkpoint, which `rllib evaluate` and `rllib certify` take, too.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner

import rllib_elmur
from rllib_elmur.proof.certify import certify

MAZE = "rllib_elmur/TMazePassive-v0"
CORRIDORS = {"corridor_length": [3, 30]}
EPISODES, ITERATIONS, BATCH = 500, 16, 1000


class Expert(TorchRLModule):
    """Walks right to the junction and turns as the hint said."""

    def setup(self) -> None:
        """Says how long rows are, as RLlib asks of each module with a state."""
        self.model_config = {"max_seq_len": 20}

    def get_initial_state(self) -> dict[str, Any]:
        """No hint."""
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
        .environment(MAZE, env_config=CORRIDORS)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4, batch_mode=batch_mode)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Expert))
        .offline_data(
            output=str(folder),
            output_write_episodes=as_episodes,
            # Else Ray writes a file for each handful of episodes; single steps it would mix.
            output_write_method_kwargs={"min_rows_per_file": 1000} if as_episodes else {},
        )
        .debugging(seed=0, log_level="ERROR")
    )
    runner = OfflineSingleAgentEnvRunner(config=config)
    episodes = runner.sample(num_episodes=n_episodes)
    runner.stop()
    assert all(episode.get_return() == 1.0 for episode in episodes)
    return episodes


def imitation(folder: Path, seed: int = 0) -> BCConfig:
    """The config that learns from the episodes in a folder."""
    config = (
        BCConfig()
        .environment(MAZE, env_config=CORRIDORS)
        .learners(num_learners=0)
        .offline_data(
            input_=str(folder), input_read_episodes=True, dataset_num_iters_per_learner=25
        )
        .training(
            train_batch_size_per_learner=BATCH,
            # The steps of a schedule are a batch for each iteration, however many it trains on.
            lr=[[0, 1e-3], [6 * BATCH, 1e-3], [ITERATIONS * BATCH, 2e-5]],
            grad_clip=0.5,
        )
        .evaluation(evaluation_interval=ITERATIONS)
        .debugging(seed=seed, log_level="ERROR")
    )
    return rllib_elmur.use_elmur(
        config,
        **{**rllib_elmur.PAPER, "n_layers": 1, "memory_levels": 2},
        max_seq_len=35,
        memory_lr_scale=0.1,
        weight_decay=0.5,
        # What the policy need not look at, such as noise, fades.
        encoder_weight_decay=5.0,
    )


def imitate(recording: Path, checkpoint: Path, seed: int = 0) -> None:
    """Trains from a recording, and saves a checkpoint."""
    algo = imitation(recording, seed).build_algo()
    for _ in range(ITERATIONS):
        algo.train()
    algo.save_to_path(str(checkpoint))
    algo.stop()


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    return parser


def main() -> None:
    """Records, imitates and certifies."""
    folder = command_line().parse_args().folder.resolve()
    record(folder / "recording", EPISODES)
    imitate(folder / "recording", folder / "checkpoint")
    certificate, _ = certify(folder / "checkpoint")
    print(f"{folder / 'checkpoint'}: {certificate.verdict}")


if __name__ == "__main__":
    main()
