"""BC and MARWIL learn from whole recorded episodes, in the states that acting would be in."""

from pathlib import Path
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
import ray
import torch
from fragments import TOLERANCE, Fragment, per_fragment, run_through
from imitate_tmaze import MAZE, record
from plugin_helpers import BOTH, SMALL, RandomEnv, elmur_ppo, shake
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.core import ALL_MODULES, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.offline.offline_data import OfflineData

import rllib_elmur
from rllib_elmur.plugin.previous import join_recorded
from rllib_elmur.plugin.recordings import RecordedEpisodes, episodes_of
from rllib_elmur.plugin.row_chain import ROW_NUMBER
from rllib_elmur.plugin.snapshots import SNAPSHOTS
from rllib_elmur.plugin.train_rows import MASKED_STEPS
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

CONFIGS = {"BC": BCConfig, "MARWIL": MARWILConfig}
# Of a row of 8 steps, of several, and of their multiples.
LENGTHS = [1, 7, 8, 9, 16, 23, 40]


def offline(name: str, env: Any = RandomEnv, env_config: Any = None, **options: Any) -> Any:
    config = (
        CONFIGS[name]()
        .environment(env, env_config=env_config or {})
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=100, lr=1e-3)
        .offline_data(input_="somewhere", dataset_num_iters_per_learner=2)
        .evaluation(evaluation_interval=1)
        .debugging(seed=0, log_level="ERROR")
    )
    return rllib_elmur.use_elmur(config, **{**SMALL, **options})


def acted(**options: Any) -> tuple[list[Any], Any]:
    """Whole episodes as a policy played them, without its states; and the policy."""
    env_config = {"lengths": LENGTHS, "truncate": True}
    config = elmur_ppo(RandomEnv, env_config, **options)
    config.env_runners(num_envs_per_env_runner=3, batch_mode="complete_episodes")
    algo = config.build_algo()
    shake(algo)
    episodes = algo.env_runner.sample(num_episodes=25)
    for episode in episodes:
        del episode.extra_model_outputs[SNAPSHOTS]
    module = algo.get_module()
    algo.stop()
    return episodes, module


def learner_with(config: Any, module: Any) -> Any:
    """The built learner of a config, with the weights of a module."""
    env = RandomEnv()
    learner = config.build_learner(env=env)
    learner.build()
    learner.module[DEFAULT_MODULE_ID].unwrapped().set_state(module.get_state())
    return learner


@pytest.mark.parametrize("memory_levels", [None, 2])
@pytest.mark.parametrize("attention_window", [None, 5])
@pytest.mark.parametrize("name", CONFIGS)
def test_states_of_later_rows_are_those_of_acting(
    name: str, attention_window: int | None, memory_levels: int | None
) -> None:
    options = {"attention_window": attention_window, "memory_levels": memory_levels}
    episodes, acting = acted(**options)
    fragments = [Fragment(episode) for episode in episodes]
    n_steps = sum(fragment.length for fragment in fragments)
    learner = learner_with(offline(name, **options), acting)
    batch = learner._make_batch_if_necessary(TrainingData(episodes=episodes))[DEFAULT_MODULE_ID]
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    # Nothing is left out, and there are rows whose states are not in the data.
    assert int(batch[Columns.LOSS_MASK].sum()) == n_steps
    assert int(learner.metrics.peek((DEFAULT_MODULE_ID, MASKED_STEPS))) == 0
    assert batch[ROW_NUMBER].max() >= 4
    real = batch[Columns.LOSS_MASK].bool()
    with torch.no_grad():
        logits = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
        alone = module.forward_train(batch | {ROW_NUMBER: torch.zeros_like(batch[ROW_NUMBER])})
    played = batch[Columns.ACTION_DIST_INPUTS]
    error = (logits - played).abs().amax(-1) * real
    # A value that is rounded may lie next to a boundary.
    flipped = error.amax(-1) > 1e-3 if memory_levels else error.amax(-1) < 0
    assert flipped.float().mean() < 1e-2
    assert error[~flipped].max() <= TOLERANCE
    # What came before shows: from the initial state there are other logits.
    later = batch[ROW_NUMBER] > 0
    wrong = (alone[Columns.ACTION_DIST_INPUTS] - played)[later][real[later]].abs().amax(-1)
    assert wrong.median() > 1000 * TOLERANCE


def test_marwils_targets_bootstrap_by_the_value_in_the_state_of_acting() -> None:
    episodes, acting = acted()
    fragments = [Fragment(episode) for episode in episodes]
    learner = learner_with(offline("MARWIL"), acting)
    batch = learner._make_batch_if_necessary(TrainingData(episodes=episodes))[DEFAULT_MODULE_ID]
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    _, values = run_through(module, fragments)
    targets = per_fragment(batch[Postprocessing.VALUE_TARGETS], fragments)
    with torch.no_grad():
        computed = per_fragment(module.compute_values(batch), fragments)
    assert any(fragment.length % 8 == 0 for fragment in fragments)  # a row for the bootstrap value
    for fragment, target, value, found in zip(fragments, targets, values, computed, strict=True):
        np.testing.assert_allclose(found, value, atol=TOLERANCE)
        assert not fragment.terminated
        expected = value[-1]
        for t in reversed(range(fragment.length)):
            expected = fragment.rewards[t] + 0.99 * expected
            assert target[t] == pytest.approx(expected, abs=1e-4)


def packed(episodes: list[Any]) -> list[dict[str, bytes]]:
    """Episodes as RLlib records them."""
    pack = [msgpack.packb(e.get_state(), default=msgpack_numpy.encode) for e in episodes]
    return [{"item": item} for item in pack]


@pytest.mark.parametrize("name", CONFIGS)
def test_updates_take_whole_episodes_count_their_steps_and_give_every_parameter_a_gradient(
    name: str,
) -> None:
    episodes, acting = acted()
    lengths = [len(episode) for episode in episodes]
    data = ray.data.from_items(packed(episodes))
    learner = learner_with(offline(name), acting)
    counts: list[int] = []
    compute_loss = learner.compute_loss_for_module

    def recording(*, batch: Any, **arguments: Any) -> Any:
        counts.append(int(batch[Columns.LOSS_MASK].sum()))
        return compute_loss(batch=batch, **arguments)

    learner.compute_loss_for_module = recording
    trained = 0
    for _ in range(3):
        request = {"training_data": TrainingData(data_iterators=[data.iterator()])}
        results = learner.update(**request, num_iters=2, minibatch_size=100, prefetch_batches=2)
        trained += int(results[ALL_MODULES]["num_env_steps_trained"].peek())
    ends = np.cumsum(lengths)
    assert trained == sum(counts)
    # The first batch holds the first episodes that fill it.
    assert counts[0] == next(end for end in ends if end >= 100)
    assert all(count >= 100 for count in counts[:-1]) or sum(lengths) in np.cumsum(counts)
    without = [n for n, p in learner.module[DEFAULT_MODULE_ID].named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("as_episodes", [True, False])
def test_what_rllib_records_is_read_as_it_was_played(tmp_path: Path, as_episodes: bool) -> None:
    played = record(tmp_path, 9, as_episodes)
    config = offline("BC", MAZE).offline_data(input_=str(tmp_path), input_read_episodes=as_episodes)
    [iterator] = RecordedEpisodes(config).sample(num_samples=1)
    read = {episode.id_: episode for episode in episodes_of(iterator)}
    assert set(read) == {episode.id_ for episode in played}
    for episode in played:
        again = read[episode.id_]
        for part in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(
                np.array(getattr(again, part)[:]), np.array(getattr(episode, part)[:])
            )
        assert again.is_terminated == episode.is_terminated
        assert Columns.STATE_OUT not in again.extra_model_outputs


@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_from_recordings_is_saved_and_evaluated(name: str, tmp_path: Path) -> None:
    record(tmp_path / "data", 16)
    config = offline(name, MAZE, {"corridor_length": [3, 30]}, memory_levels=2)
    config.offline_data(input_=str(tmp_path / "data"), input_read_episodes=True)
    algo = config.build_algo()
    results = [algo.train()["learners"] for _ in range(2)]
    assert all(np.isfinite(r[DEFAULT_MODULE_ID]["policy_loss"]) for r in results)
    assert all(r[DEFAULT_MODULE_ID][MASKED_STEPS] == 0 for r in results)
    assert results[1][ALL_MODULES]["num_env_steps_trained_lifetime"] >= 4 * 100
    path = Path(algo.save_to_path(str(tmp_path / "saved")))
    algo.stop()
    [row] = evaluate([path], EvaluateOptions(episodes=4, env_config={"corridor_length": 5}))
    assert row.episodes == 4


def test_previous_actions_and_rewards_are_joined_as_in_acting() -> None:
    episodes, acting = acted(**BOTH)
    for episode in episodes[:5]:
        seen = [episode.get_observations(t) for t in range(len(episode) + 1)]
        raw = SingleAgentEpisode(
            observations=[part["observation"] for part in seen],
            actions=list(episode.get_actions()),
            rewards=list(episode.get_rewards()),
            len_lookback_buffer=0,
        )
        for _ in range(2):  # what is joined already stays
            join_recorded(raw, acting.observation_space, acting.action_space)
            for t, part in enumerate(seen):
                joined = raw.get_observations(t)
                assert joined.keys() == part.keys()
                for key, value in part.items():
                    np.testing.assert_array_equal(joined[key], value)


class Pieces(OfflineData):
    """A user's own way of reading."""


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"input_read_sample_batches": True}, "input_read_sample_batches=True is not supported"),
        (
            {"prelearner_use_recorded_module_states": True},
            "prelearner_use_recorded_module_states=True is not supported",
        ),
        ({"input_read_episodes": False}, "must have a column 'eps_id', and have item"),
    ],
    ids=str,
)
def test_settings_that_are_about_pieces_of_episodes_are_refused(
    settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    ray.data.from_items([{"item": b"1"}]).write_parquet(str(tmp_path))
    config = offline("BC").offline_data(
        **{"input_": str(tmp_path), "input_read_episodes": True, **settings}
    )
    with pytest.raises(ValueError, match=r"ELMUR|column") as error:
        RecordedEpisodes(config)
    assert sentence in str(error.value)


def test_two_learners_need_a_number_of_updates() -> None:
    config = offline("BC").offline_data(dataset_num_iters_per_learner=None)
    with pytest.raises(ValueError, match="dataset_num_iters_per_learner=None with num_learners=2"):
        RecordedEpisodes(config.learners(num_learners=2))


def test_two_learners_in_processes_of_their_own_step_together(tmp_path: Path) -> None:
    """Here are two CPUs, and the learners take both."""
    record(tmp_path / "data", 24)
    config = offline("MARWIL", MAZE, {"corridor_length": [3, 30]}, previous_action=True)
    config.offline_data(input_=str(tmp_path / "data"), input_read_episodes=True)
    algo = config.learners(num_learners=2).build_algo()
    for _ in range(2):
        learned = algo.train()["learners"]
        assert np.isfinite(learned[DEFAULT_MODULE_ID]["policy_loss"])
        assert learned[DEFAULT_MODULE_ID][MASKED_STEPS] == 0
    assert learned[ALL_MODULES]["num_env_steps_trained_lifetime"] >= 2 * 4 * 100
    first, second = algo.learner_group.foreach_learner(
        lambda learner: learner.get_state(components="rl_module")["rl_module"][DEFAULT_MODULE_ID]
    )
    for weight, value in first.get().items():
        assert np.array_equal(value, second.get()[weight]), weight
    path = Path(algo.save_to_path(str(tmp_path / "saved")))
    algo.stop()
    [row] = evaluate([path], EvaluateOptions(episodes=4))
    assert row.episodes == 4


def test_another_way_of_reading_is_refused() -> None:
    config = BCConfig().environment(RandomEnv).offline_data(offline_data_class=Pieces)
    with pytest.raises(ValueError, match=r"offline_data_class=Pieces .*RecordedEpisodes"):
        rllib_elmur.use_elmur(config)


def test_a_recording_that_begins_inside_an_episode_is_refused() -> None:
    episodes, _ = acted()
    longest = max(episodes, key=len)
    data = ray.data.from_items(packed([longest[5:]]))
    with pytest.raises(ValueError, match=r"begins at time step 5, .*complete_episodes"):
        list(episodes_of(data.iterator()))
