"""A short learning curve, stored: a refactoring that changes numbers is seen.

After a change that is meant to change them, ``python tests/test_golden.py`` stores the curve anew.
"""

import json
from pathlib import Path

import pytest
import quiet_ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_elmur

GOLDEN = Path(__file__).parent / "golden" / "tmaze_ppo.json"
METRICS = ("policy_loss", "vf_loss", "entropy", "mean_kl_loss")


def learning_curve():
    """Three iterations of PPO on short corridors, in this process, with one thread and one seed."""
    config = (
        PPOConfig()
        .environment(
            "rllib_elmur/TMazePassive-v0", env_config={"corridor_length": [2, 8], "slack": 2.0}
        )
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4, rollout_fragment_length="auto")
        .training(
            lr=1e-3,
            train_batch_size_per_learner=400,
            minibatch_size=200,
            num_epochs=2,
            grad_clip=0.5,
        )
        .debugging(seed=0)
    )
    rllib_elmur.use_elmur(
        config,
        **{**rllib_elmur.PAPER, "segment_length": 3},
        d_model=16,
        d_ff=32,
        max_seq_len=20,
        memory_lr_scale=1.0,
        advantage_floor=0.0,
    )
    algo = config.build_algo()
    curve = []
    for _ in range(3):
        learner = algo.train()["learners"]["default_policy"]
        curve.append({name: float(learner[name]) for name in METRICS})
    algo.stop()
    return curve


def test_a_training_with_a_fixed_seed_repeats_the_stored_curve(ray_is_quiet):
    stored = json.loads(GOLDEN.read_text())
    for step, expected in zip(learning_curve(), stored, strict=True):
        assert step == pytest.approx(expected, rel=1e-2, abs=1e-4)


if __name__ == "__main__":
    torch.set_num_threads(1)
    quiet_ray.start(num_cpus=1)
    GOLDEN.write_text(json.dumps(learning_curve(), indent=1) + "\n")
