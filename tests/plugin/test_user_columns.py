"""Columns that connector pieces of users add to a batch, item by item or as whole arrays."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from plugin_helpers import elmur_ppo
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner
from ray.rllib.core.columns import Columns
from rollouts import algorithm, assert_equal, batches

from rllib_elmur.plugin.train_rows import with_snapshots

IMAGES = {"observation": gym.spaces.Box(-1, 1, (12, 12, 1)), "lengths": [1, 2, 7, 8, 9, 16, 23]}
NESTED = {"observation": gym.spaces.Dict(a=gym.spaces.Box(-1, 1, (2,)), b=gym.spaces.Discrete(3))}


class Whole(ConnectorV2):
    """Learner piece: the signs of rewards, as one array of each episode; and a column of its own.

    So do RLlib's frame stacking and pieces for intrinsic rewards.
    """

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            n = len(episode)
            signs = np.sign(episode.get_rewards()).astype(np.float32)
            self.add_n_batch_items(batch, Columns.REWARDS, signs, n, episode)
            own = {"time": np.arange(n), "square": np.arange(n)[:, None] ** 2}
            self.add_n_batch_items(batch, "own", own, n, episode)
        return batch


class WholeNested(ConnectorV2):
    """Learner piece: nested observations, as one struct of arrays of each episode."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            n = len(episode)
            self.add_n_batch_items(
                batch, Columns.OBS, episode.get_observations(slice(0, n)), n, episode
            )
        return batch


class WholeStep(ConnectorV2):
    """Env-to-module piece: the newest observation as an array with a batch axis."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes):
            observation = np.asarray(episode.get_observations(-1))[None]
            self.add_n_batch_items(batch, Columns.OBS, observation, 1, episode)
        return batch


class Told(ConnectorV2):
    """Adds infos, which are of other keys from step to step, in learner and env runner."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            n = len(episode) if episode.is_numpy else 1
            infos = [{"even": i} if i % 2 == 0 else {"odd": "x"} for i in range(n)]
            self.add_n_batch_items(batch, Columns.INFOS, infos, n, episode)
        return batch


CASES: dict[str, dict[str, Any]] = {
    "rewards and a column": {"learner": Whole},
    "nested observations": {"learner": WholeNested, "env_config": NESTED},
    "frame stacking": {
        "learner": lambda: FrameStackingLearner(num_frames=3),
        "env_to_module": lambda: FrameStackingEnvToModule(num_frames=3),
        "env_config": IMAGES,
    },
    "one step": {"env_to_module": WholeStep},
}


def prepared(case: dict[str, Any]) -> Any:
    def prepare(config: Any) -> None:
        if "env_to_module" in case:
            config.env_runners(env_to_module_connector=lambda *a: case["env_to_module"]())
        if "learner" in case:
            config.learners(learner_connector=with_snapshots(lambda *a: case["learner"]()))

    return prepare


@pytest.mark.parametrize("name", CASES)
def test_whole_arrays_make_the_batch_that_rllib_makes(name: str) -> None:
    case = CASES[name]
    options = {"env_config": case["env_config"]} if "env_config" in case else {}
    made = batches(algorithm("recorder", prepared(case), **options), [9, 24, 31])
    assert_equal(made, batches(algorithm("plain", prepared(case), **options), [9, 24, 31]))
    if name == "rewards and a column":
        assert set(made[0]["rewards"].unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_infos_stay_a_list_whatever_they_hold() -> None:
    case = {"learner": Told, "env_to_module": Told}
    [made] = batches(algorithm("recorder", prepared(case)), [24])
    [reference] = batches(algorithm("plain", prepared(case)), [24])
    assert made[Columns.INFOS] == reference[Columns.INFOS]
    assert {"odd": "x"} in made[Columns.INFOS]


class PerEpisode(ConnectorV2):
    """Adds one item for each episode, where one for each time step belongs."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            self.add_batch_item(batch, "bonus", 1.0, episode)
        return batch


def test_a_column_that_does_not_hold_every_step_is_named() -> None:
    config = elmur_ppo()
    config.learners(learner_connector=with_snapshots(lambda *a: PerEpisode()))
    algo = config.build_algo()
    with pytest.raises(ValueError, match=r"column 'bonus', and the episodes have \d+ time steps"):
        algo.train()
    algo.stop()
