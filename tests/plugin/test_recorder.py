"""Recorded rollouts beside what users add: connectors, callbacks, environments that fail."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from plugin_helpers import Doubled, RandomEnv
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.columns import Columns
from rollouts import FRAGMENTS, algorithm, assert_equal, batches

from rllib_elmur.plugin.connectors import BatchToEnv, BatchToModule
from rllib_elmur.plugin.snapshots import SNAPSHOTS
from rllib_elmur.plugin.train_rows import with_snapshots


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


def test_pieces_of_ours_stand_in_place_of_rllibs_only_where_it_builds_its_own() -> None:
    algo = algorithm("recorder")
    assert [type(p) for p in algo.env_runner._env_to_module] == [BatchToModule]
    assert [type(p) for p in algo.env_runner._module_to_env] == [BatchToEnv]

    def prepare(config: Any) -> None:
        config.learners(learner_connector=None)  # the learner would not understand snapshots

    plain = algorithm("recorder", prepare)
    assert not any(isinstance(p, BatchToModule) for p in plain.env_runner._env_to_module)
    assert Columns.STATE_OUT in plain.env_runner.sample(num_timesteps=9)[0].extra_model_outputs
