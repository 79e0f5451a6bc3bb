"""Live batches, snapshots and recorded rollouts give the learner what RLlib's own path gives it."""

import pickle
from typing import Any

import gymnasium as gym
import pytest
import torch
from plugin_helpers import ENV, learner_of, train_batch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.utils.minibatch_utils import ShardEpisodesIterator
from rollouts import TOLERANCE, WAYS, algorithm, assert_equal, batches, masked
from test_spaces import ACTIONS, MORE, OBSERVATIONS

from rllib_elmur.plugin.snapshots import SNAPSHOTS


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory_levels": 2},
        {"memory_levels": 5, "n_layers": 1, "max_seq_len": 6},
        {"segment_length": 4, "max_seq_len": 9, "memory_slots": 3},
        {"segment_length": 2, "max_seq_len": 5, "attention_window": 6},
    ],
    ids=str,
)
def test_fragments_that_cut_episodes_anywhere(way: str, options: dict[str, Any]) -> None:
    algo = algorithm(way, **options)
    made = batches(algo)
    assert_equal(made, batches(algorithm("plain", **options)))
    assert masked(algo) == 0
    # The test can fail: rows begin in the middle of episodes and of segments, with written memory.
    states = [batch[Columns.STATE_IN] for batch in made]
    assert any((state["clock"] % 3 != 0).any() for state in states)
    assert any((state["anchors"] >= 0).any() for state in states)
    assert any((state["segment"] != 0).any() for state in states)


@pytest.mark.parametrize("way", WAYS)
def test_complete_episodes(way: str) -> None:
    assert_equal(batches(algorithm(way), complete=True), batches(algorithm("plain"), complete=True))


@pytest.mark.parametrize("way", WAYS)
def test_truncated_episodes_with_a_bootstrap_row_of_its_own(way: str) -> None:
    env_config = {**ENV, "lengths": [8, 16], "truncate": True}
    reference = batches(algorithm("plain", env_config=env_config))
    assert_equal(batches(algorithm(way, env_config=env_config)), reference)
    # Episodes as long as a row or two: the step behind them begins a row in a state of its own.
    phantom = [batch[Columns.SEQ_LENS] == 1 for batch in reference]
    clocks = [b[Columns.STATE_IN]["clock"][p] for b, p in zip(reference, phantom, strict=True)]
    assert any((clock >= 8).any() for clock in clocks)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "spaces",
    [
        *((OBSERVATIONS["vector"], action) for action in ACTIONS.values()),
        *((observation, ACTIONS["Discrete"]) for observation in OBSERVATIONS.values()),
        MORE["to Dict"],
        MORE["to Tuple"],
        MORE["Tuple"],
        MORE["float64 vector"],
    ],
    ids=str,
)
def test_every_space(way: str, spaces: tuple[gym.Space, gym.Space]) -> None:
    env_config = {"observation": spaces[0], "action": spaces[1], "lengths": [5, 12]}
    made = batches(algorithm(way, env_config=env_config), [20, 13])
    assert_equal(made, batches(algorithm("plain", env_config=env_config), [20, 13]))


def test_actions_of_a_box_that_are_clipped_or_left_alone() -> None:
    space = gym.spaces.Box(-0.1, 0.2, (2,))
    env_config = {"observation": OBSERVATIONS["vector"], "action": space, "lengths": [5]}
    for normalize, clip in ((False, True), (True, False)):

        def prepare(config: Any, normalize: bool = normalize, clip: bool = clip) -> None:
            config.environment(normalize_actions=normalize, clip_actions=clip)

        made = batches(algorithm("recorder", prepare, env_config=env_config), [20])
        assert_equal(made, batches(algorithm("plain", prepare, env_config=env_config), [20]))


def test_slices_of_episodes_are_trained_from_their_own_state_or_masked_and_counted() -> None:
    """RLlib slices episodes for several learners; their pieces begin anywhere."""

    def batches_of(way: str) -> tuple[list[dict[str, Any]], Any]:
        algo = algorithm(way, env_config={**ENV, "lengths": [40]})
        torch.manual_seed(2)
        algo.env_runner.sample(num_timesteps=33)
        shards = ShardEpisodesIterator(algo.env_runner.sample(num_timesteps=96), 2)
        return [train_batch(algo, shard) for shard in shards], algo

    made, algo = batches_of("recorder")
    n_masked = masked(algo)
    assert 0 < n_masked < 50
    trained = sum(int(batch[Columns.LOSS_MASK].sum()) for batch in made)
    assert trained + n_masked == 96
    # What is trained on begins in the state of its episode: the logits are those of the rollout.
    module = learner_of(algo).module[DEFAULT_MODULE_ID]
    for batch in made:
        with torch.no_grad():
            logits = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
        mask = batch[Columns.LOSS_MASK]
        difference = (logits - batch[Columns.ACTION_DIST_INPUTS])[mask].abs().max()
        assert difference < TOLERANCE


def test_missing_snapshots_are_never_trained_on_from_the_initial_state() -> None:
    algo = algorithm("recorder")
    algo.env_runner.sample(num_timesteps=31)
    episodes = algo.env_runner.sample(num_timesteps=60)
    for episode in episodes:
        del episode.extra_model_outputs[SNAPSHOTS]
    n_steps = sum(len(episode) for episode in episodes)
    batch = train_batch(algo, episodes)
    assert masked(algo) == n_steps - int(batch[Columns.LOSS_MASK].sum()) > 0


def test_little_travels_to_the_learner() -> None:
    def size(way: str) -> float:
        algo = algorithm(way, memory_levels=2)
        algo.env_runner.sample(num_timesteps=300)
        return len(pickle.dumps(algo.env_runner.sample(num_timesteps=300))) / 300

    assert size("recorder") < size("plain") / 3
