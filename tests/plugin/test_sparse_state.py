"""Live batches, snapshots and recorded rollouts give the learner what RLlib's own path gives it."""

import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
import tree
from plugin_helpers import RandomEnv, elmur_ppo, learner_of, shake, train_batch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.minibatch_utils import ShardEpisodesIterator
from test_spaces import ACTIONS, MORE, OBSERVATIONS

from rllib_elmur.plugin.columns import SNAPSHOTS
from rllib_elmur.plugin.connectors import BatchToEnv, BatchToModule
from rllib_elmur.plugin.train_rows import MASKED_STEPS, with_snapshots

# Shorter than a row of 8 steps, of its length and multiples, longer.
ENV = {"observation": gym.spaces.Box(-1, 1, (3,)), "lengths": [1, 2, 7, 8, 9, 16, 23, 40]}
FRAGMENTS = [9, 24, 48, 3, 31, 6, 80]
TOLERANCE = 1e-4
WAYS = ["pieces", "recorder"]


def watch_steps(**kwargs: Any) -> None:
    """A user's callback that looks at episodes between their steps."""


def algorithm(way: str, prepare: Callable[[Any], None] = lambda config: None, **options: Any):
    """PPO whose env runner is RLlib's own ("plain"), has our pieces in RLlib's loop, or records."""
    env_config = options.pop("env_config", ENV)
    config = elmur_ppo(RandomEnv, env_config, **options).env_runners(num_envs_per_env_runner=3)
    prepare(config)
    if way == "plain":
        config.env_runners(env_runner_cls=SingleAgentEnvRunner)
    elif way == "pieces":
        config.callbacks(on_episode_step=watch_steps)
    torch.manual_seed(0)
    algo = config.build_algo()
    shake(algo)
    return algo


def batches(
    algo: Any, fragments: list[int] = FRAGMENTS, complete: bool = False
) -> list[dict[str, Any]]:
    """Train batches, of a sample each, with new weights in between."""
    runner, made = algo.env_runner, []
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(2)
    for n_steps in fragments:
        sizes = {"num_episodes": 3} if complete else {"num_timesteps": n_steps}
        made.append(train_batch(algo, runner.sample(**sizes)))
        with torch.no_grad():  # in the middle of episodes and of their segments
            for parameter in runner.module.parameters():
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return made


def assert_equal(made: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Columns, shapes, types and values are the same, up to the rounding of the logits."""
    assert len(made) == len(expected)
    for batch, reference in zip(made, expected, strict=True):
        assert set(batch) == set(reference)
        for name, column in reference.items():
            tree.assert_same_structure(batch[name], column)
            leaves = zip(tree.flatten(batch[name]), tree.flatten(column), strict=True)
            for value, wanted in leaves:
                assert value.shape == wanted.shape, name
                # RLlib narrows the integers of a state.
                assert value.dtype == wanted.dtype or name == Columns.STATE_IN, name
                difference = (value.double() - wanted.double()).abs().max().item()
                assert difference < TOLERANCE, (name, difference)


def masked(algo: Any) -> int:
    return int(learner_of(algo).metrics.peek((DEFAULT_MODULE_ID, MASKED_STEPS)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory_levels": 2},
        {"memory_levels": 5, "n_layers": 1, "max_seq_len": 6},
        {"segment_length": 4, "max_seq_len": 9, "memory_slots": 3},
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


class Doubled(ConnectorV2):
    """A user's env-to-module piece: doubles the newest observation of each episode."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes):
            observation = 2 * episode.get_observations(-1)
            episode.set_observations(at_indices=-1, new_data=observation)
        return batch


class Noted(ConnectorV2):
    """A user's module-to-env piece: stores something with each time step."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes):
            self.add_batch_item(batch, "note", np.float32(episode.t), episode)
        return batch


class Signed(ConnectorV2):
    """A user's learner piece: the signs of rewards."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            signs = np.sign(episode.get_rewards()).astype(np.float32)
            self.add_n_batch_items(batch, Columns.REWARDS, list(signs), len(signs), episode)
        return batch


@pytest.mark.parametrize(
    "pieces",
    [
        {"env_to_module": Doubled},
        {"env_to_module": MeanStdFilter},
        {"module_to_env": Noted},
        {"env_to_module": Doubled, "module_to_env": Noted, "learner": Signed},
    ],
    ids=str,
)
def test_connectors_of_the_user_before_and_after(pieces: dict[str, type[ConnectorV2]]) -> None:
    def prepare(config: Any) -> None:
        if "env_to_module" in pieces:
            build = pieces["env_to_module"]
            config.env_runners(env_to_module_connector=lambda env, spaces, device: build())
        if "module_to_env" in pieces:
            after = pieces["module_to_env"]
            config.env_runners(module_to_env_connector=lambda env, spaces: after())
        if "learner" in pieces:
            config.learners(learner_connector=with_snapshots(lambda *a: pieces["learner"]()))

    algo = algorithm("recorder", prepare)
    assert_equal(batches(algo), batches(algorithm("plain", prepare)))
    episodes = algo.env_runner.sample(num_timesteps=20)
    assert all(SNAPSHOTS in episode.extra_model_outputs for episode in episodes)


def test_evaluation_runners_sample_alike() -> None:
    def returns(way: str) -> list[float]:
        algo = algorithm(way)
        torch.manual_seed(3)
        episodes = algo.env_runner.sample(num_episodes=5, explore=False)
        return [episode.get_return() for episode in episodes]

    assert returns("recorder") == pytest.approx(returns("plain"))
    assert returns("pieces") == pytest.approx(returns("plain"))


def test_a_fraction_of_a_step_is_a_step_as_with_rllib() -> None:
    def length(way: str) -> int:
        episodes = algorithm(way).env_runner.sample(num_timesteps=12.5, explore=False)
        return sum(len(episode) for episode in episodes)

    assert length("recorder") == length("plain") >= 13


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


def test_steps_without_the_policy_are_an_error() -> None:
    algo = algorithm("recorder")
    algo.env_runner.sample(num_timesteps=9)
    with pytest.raises(RuntimeError, match="steps were taken without the policy"):
        algo.env_runner.sample(num_timesteps=9, random_actions=True)
    algo.env_runner.sample(num_timesteps=9, force_reset=True)


class Watching(RLlibCallback):
    """Keeps what the callbacks of an episode see."""

    seen: ClassVar[list[tuple[Any, ...]]] = []

    def on_episode_created(self, *, episode: Any, **kwargs: Any) -> None:
        episode.custom_data["created"] = True

    def on_episode_start(self, *, episode: Any, **kwargs: Any) -> None:
        self.seen.append(("start", len(episode.observations), episode.custom_data["created"]))

    def on_episode_end(self, *, episode: Any, prev_episode_chunks: Any, **kwargs: Any) -> None:
        chunks = [*prev_episode_chunks, episode]
        assert len(episode.get_infos()) == len(episode) + 1
        lengths = sum(len(chunk) for chunk in chunks), episode.t
        total = sum(chunk.get_return() for chunk in chunks)
        self.seen.append(("end", *lengths, round(total, 6), episode.custom_data["created"]))


def test_callbacks_see_whole_episodes() -> None:
    def seen(way: str) -> list[tuple[Any, ...]]:
        Watching.seen = []
        algo = algorithm(way, lambda config: config.callbacks(Watching))
        torch.manual_seed(2)
        for n_steps in FRAGMENTS:
            algo.env_runner.sample(num_timesteps=n_steps)
        metrics = algo.env_runner.get_metrics()
        assert metrics["num_env_steps_sampled"] >= sum(FRAGMENTS)
        assert float(metrics["episode_len_mean"]) > 0
        return sorted(Watching.seen)

    assert seen("recorder") == seen("plain")


def test_an_environment_that_fails_is_made_anew() -> None:
    def prepare(config: Any) -> None:
        config.environment(Failing).fault_tolerance(restart_failed_sub_environments=True)

    Failing.calls = 0
    algo = algorithm("recorder", prepare)
    episodes = algo.env_runner.sample(num_timesteps=60)
    assert Failing.calls > 50
    assert sum(len(episode) for episode in episodes) >= 60
    assert all(episode.t_started == 0 for episode in episodes)


class Failing(RandomEnv):
    """Raises once, at the 50th step of all."""

    calls = 0

    def step(self, action: Any) -> Any:
        Failing.calls += 1
        if Failing.calls == 50:
            raise RuntimeError("broken")
        return super().step(action)


def test_little_travels_to_the_learner() -> None:
    def size(way: str) -> float:
        algo = algorithm(way, memory_levels=2)
        algo.env_runner.sample(num_timesteps=300)
        return len(pickle.dumps(algo.env_runner.sample(num_timesteps=300))) / 300

    assert size("recorder") < size("plain") / 3


def test_pieces_of_ours_stand_in_place_of_rllibs_only_where_it_builds_its_own() -> None:
    algo = algorithm("recorder")
    assert [type(p) for p in algo.env_runner._env_to_module] == [BatchToModule]
    assert [type(p) for p in algo.env_runner._module_to_env] == [BatchToEnv]

    def prepare(config: Any) -> None:
        config.learners(learner_connector=None)  # the learner would not understand snapshots

    plain = algorithm("recorder", prepare)
    assert not any(isinstance(p, BatchToModule) for p in plain.env_runner._env_to_module)
    assert Columns.STATE_OUT in plain.env_runner.sample(num_timesteps=9)[0].extra_model_outputs
