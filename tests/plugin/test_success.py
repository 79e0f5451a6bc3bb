"""The metric `success` where an environment reports a share of correct answers."""

import pytest
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_elmur
from rllib_elmur.plugin.success import SuccessMetric

CUES = {"cues": 4, "corridor_length": 0}


class Another(SuccessMetric):
    """A second callback of this kind, as a curriculum is beside a certificate."""


@pytest.mark.parametrize(
    "vectorize_mode, callbacks",
    [("sync", SuccessMetric), ("vector_entry_point", [SuccessMetric, Another])],
)
def test_shares_of_episodes_are_averaged(vectorize_mode, callbacks, ray_is_quiet):
    config = (
        PPOConfig()
        .environment("rllib_elmur/TMazeMultiCue-v0", env_config=CUES)
        .env_runners(
            num_env_runners=0, num_envs_per_env_runner=4, gym_env_vectorize_mode=vectorize_mode
        )
        .training(train_batch_size_per_learner=320, minibatch_size=160, num_epochs=1)
        .callbacks(callbacks)
    )
    rllib_elmur.use_elmur(config, d_model=16, d_ff=32, segment_length=2, n_layers=1)
    algo = config.build_algo()
    played = algo.train()["env_runners"]
    algo.stop()
    # An episode's return is the share of its answers that were right.
    assert played["num_episodes"] >= 30
    assert 0 < played["success"] < 0.6
    assert played["success"] == pytest.approx(played["episode_return_mean"])
