"""Minibatches that RLlib would leave without a training sequence are refused at build."""

import pytest
from plugin_helpers import SMALL, ppo

import rllib_elmur
from rllib_elmur.errors import OptionError
from rllib_elmur.plugin.review import require_whole_rows


def config_of(num_envs, minibatch_size, max_seq_len, **training):
    # Episodes that no train batch ends, so that rows are as long as they can be.
    config = ppo(env_config={"lengths": [10_000]}, train_batch_size=490, num_epochs=1, **training)
    config.env_runners(num_envs_per_env_runner=num_envs).training(minibatch_size=minibatch_size)
    return rllib_elmur.use_elmur(config, **{**SMALL, "max_seq_len": max_seq_len})


@pytest.mark.parametrize(
    ("num_envs", "max_seq_len", "least"),
    [
        (2, 64, 64),
        (10, 64, 51),  # a fragment of 49 steps and the step of its bootstrap value: all rows full
        (49, 64, 12),  # 49 rows of 11 steps: 49 * (11 / 539) is less than 1
        (70, 4, 5),  # two rows of 4 steps each
    ],
)
def test_the_least_minibatch_that_is_allowed_trains_and_a_smaller_one_is_refused(
    num_envs, max_seq_len, least, ray_is_quiet
):
    algo = config_of(num_envs, least, max_seq_len).build_algo()
    assert algo.train()["num_env_steps_sampled_lifetime"] >= 490
    algo.stop()
    with pytest.raises(OptionError) as error:
        config_of(num_envs, least - 1, max_seq_len).build_algo()
    for part in (f"minibatch_size={least - 1}", f"max_seq_len={max_seq_len}", f">= {least}"):
        assert part in str(error.value)


def test_whole_episodes_and_rllibs_lstm_are_looked_at_too():
    whole = config_of(49, 20, 64).env_runners(batch_mode="complete_episodes")
    with pytest.raises(OptionError, match="up to 64 steps"):
        require_whole_rows(whole)
    lstm = ppo(train_batch_size=490, minibatch_size=20).rl_module(
        model_config={"use_lstm": True, "max_seq_len": 32}
    )
    with pytest.raises(OptionError, match=r"max_seq_len=32.* >= 32"):
        require_whole_rows(lstm)
    require_whole_rows(ppo(minibatch_size=1))  # without memory there are no rows
