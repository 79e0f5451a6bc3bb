"""An evaluation plays different episodes, as its seed says, with what training has learned."""

import json
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
import quiet_ray
import ray
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import MeanStdFilter

import rllib_elmur
from rllib_elmur.errors import UserError
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

SMALL = {"d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": 1, "max_seq_len": 10}


class Coin(gym.Env):
    """One step; success is a coin, and nothing that the policy can know of."""

    observation_space = Box(-1.0, 1.0, (1,))
    action_space = Discrete(2)
    drawn: ClassVar[list[float]] = []

    def __init__(self, config=None):
        self.sides = (config or {}).get("sides", 2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.draw = self.np_random.uniform()
        Coin.drawn.append(self.draw)
        return np.array([self.draw], np.float32), {}

    def step(self, action):
        success = bool(self.draw * self.sides < 1)
        return np.zeros(1, np.float32), 1.0, True, False, {"success": success}


class Integral(gym.Env):
    """Long episodes, the same for every seed, whose return hangs on every action."""

    observation_space = Box(-1.0, 1.0, (2,))
    action_space = Box(-1.0, 1.0, (1,))

    def __init__(self, config=None):
        self.length = 250

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        self.looks = np.random.default_rng(7).uniform(-1, 1, (self.length + 1, 2))
        return self.looks[0].astype(np.float32), {}

    def step(self, action):
        self.time += 1
        reward = float(action[0] * self.looks[self.time, 0])
        return self.looks[self.time].astype(np.float32), reward, self.time == self.length, False, {}


class WatchedFilter(MeanStdFilter):
    """Notes how many observations it has learned from before each call."""

    counts: ClassVar[list[int]] = []

    def __call__(self, **kwargs):
        [state] = self.get_state().values()
        WatchedFilter.counts.append(state["running_stats"][0]["num_pushes"])
        return super().__call__(**kwargs)


class OwnFilter(ConnectorV2):
    """A filter as users write them: it learns in every call and knows nothing of evaluations."""

    counts: ClassVar[list[int]] = []
    count = 0

    def __call__(self, *, batch, episodes, **kwargs):
        OwnFilter.counts.append(self.count)
        self.count += len(episodes)
        return batch

    def get_state(self, *args, **kwargs):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


class Halved(ConnectorV2):
    """Halves observations, on the way to the module alone."""

    def __call__(self, *, batch, episodes, **kwargs):
        for episode in self.single_agent_episode_iterator(episodes):
            batch.setdefault("obs", {}).setdefault((episode.id_,), []).append(
                episode.get_observations(-1) / 2
            )
        return batch


def ppo(env):
    config = PPOConfig().environment(env).env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    config.training(train_batch_size=64, minibatch_size=64, num_epochs=1)
    return config.debugging(seed=0, log_level="ERROR")


def with_previous(env):
    return rllib_elmur.use_elmur(ppo(env), previous_action=True, previous_reward=True, **SMALL)


def with_lstm(env):
    config = ppo(env).rl_module(
        model_config={"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 10}
    )
    return config.env_runners(env_to_module_connector=lambda env, spaces, device: Halved())


def with_filter(env, piece=WatchedFilter):
    config = rllib_elmur.use_elmur(ppo(env), **SMALL)
    return config.env_runners(env_to_module_connector=lambda env, spaces, device: piece())


@pytest.fixture(scope="module")
def some_ray():
    started = not ray.is_initialized()
    if started:
        quiet_ray.start(num_cpus=1)
    yield
    if started:
        ray.shutdown()


@pytest.fixture
def saved(some_ray, tmp_path):
    """Makes a checkpoint of a config's algorithm, which has sampled a little."""

    def save(config, name="policy"):
        algorithm = config.build_algo()
        algorithm.env_runner.sample(num_timesteps=40)
        algorithm.save_to_path(str(tmp_path / name))
        return tmp_path / name, algorithm

    return save


KINDS = {"previous": with_previous, "lstm": with_lstm, "filter": with_filter}


@pytest.mark.parametrize("kind", KINDS)
def test_episodes_behind_connectors_differ(kind, saved, rllib, tmp_path):
    path, _ = saved(KINDS[kind](Coin))
    Coin.drawn.clear()
    out = tmp_path / "rows.json"
    code, output = rllib("evaluate", path, "--episodes", 300, "--out", out)
    assert code == 0, output
    [row] = json.loads(out.read_text())
    assert row["episodes"] == 300 and 0.4 < row["success"] < 0.6
    assert len(set(Coin.drawn)) >= 300


def played(path, **options):
    """What is reset in an evaluation, and its row."""
    Coin.drawn.clear()
    [row] = evaluate([path], EvaluateOptions(**options))
    return list(Coin.drawn), row


@pytest.mark.parametrize("config", [with_previous, lambda env: rllib_elmur.use_elmur(ppo(env))])
def test_a_seed_names_the_episodes(config, saved):
    path, _ = saved(config(Coin))
    first, row = played(path, episodes=40)
    again, row_again = played(path, episodes=40, seed=0)
    other, _ = played(path, episodes=40, seed=1)
    assert first == again and row.success == row_again.success
    assert not set(first) & set(other)


def test_episodes_are_the_same_with_connectors_and_without(saved):
    one, _ = played(saved(with_previous(Coin), "connectors")[0], episodes=20)
    other, _ = played(saved(rllib_elmur.use_elmur(ppo(Coin)), "none")[0], episodes=20)
    assert one[:20] == other[:20]


@pytest.mark.parametrize("piece", [WatchedFilter, OwnFilter])
def test_filters_learn_nothing_in_an_evaluation(piece, saved):
    path, algorithm = saved(with_filter(Coin, piece))
    learned = sum(
        episode.env_steps() > 0 for episode in algorithm.env_runner.sample(num_episodes=9)
    )
    algorithm.save_to_path(str(path))
    assert learned and piece.counts[-1] > 0
    for _ in range(2):
        piece.counts.clear()
        evaluate([path], EvaluateOptions(episodes=70))
        assert len(set(piece.counts)) == 1 and piece.counts[0] > 0


@pytest.mark.parametrize("config", [with_previous, with_lstm])
def test_the_policy_acts_as_in_rllibs_own_env_runner(config, saved):
    path, algorithm = saved(config(Integral))
    with torch.no_grad():
        for weight in algorithm.get_module().parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    algorithm.learner_group.foreach_learner(
        lambda learner: learner.module["default_policy"].load_state_dict(
            algorithm.get_module().state_dict(), strict=False
        )
    )
    algorithm.save_to_path(str(path))
    episodes = algorithm.env_runner.sample(num_episodes=2, explore=False)
    expected = [episode.get_return() for episode in episodes]
    [row] = evaluate([path], EvaluateOptions(episodes=3))
    assert row.episode_length == 250
    assert abs(expected[0]) > 1e-2
    np.testing.assert_allclose(row.episode_return, expected[0], rtol=1e-4)


def test_steps_are_counted_behind_connectors(saved):
    path, _ = saved(with_previous(Coin))
    resets, row = played(path, steps=100)
    assert row.episodes == 100 and len(set(resets)) >= 100


def test_actions_are_drawn_where_it_is_told_to_explore(saved):
    for config in (with_lstm, lambda env: rllib_elmur.use_elmur(ppo(env), **SMALL)):
        path, _ = saved(config(Integral))
        greedy, again, drawn, redrawn, other = (
            evaluate([path], EvaluateOptions(episodes=2, **options))[0].episode_return
            for options in (
                {},
                {"explore": False},
                {"explore": True},
                {"explore": True},
                {"explore": True, "seed": 1},
            )
        )
        assert greedy == again and drawn == redrawn
        assert len({greedy, drawn, other}) == 3


class FirstOnes(Coin):
    """Reports a success in the first 256 episodes, and nothing in later ones."""

    def step(self, action):
        info = {"success": True} if len(Coin.drawn) <= 256 else {}
        return np.zeros(1, np.float32), 1.0, True, False, info


def test_episodes_that_report_no_success_count_as_failed_beside_those_that_do(saved):
    path, _ = saved(rllib_elmur.use_elmur(ppo(FirstOnes), **SMALL))
    _, row = played(path, episodes=300)
    assert row.success == pytest.approx(256 / 300)


def test_behind_connectors_too_other_spaces_are_refused(saved):
    path, _ = saved(with_previous(Coin))
    with pytest.raises(UserError, match="trained for the observation space"):
        evaluate([path], EvaluateOptions(env="CartPole-v1", episodes=2))


@pytest.mark.parametrize("config", [with_previous, lambda env: rllib_elmur.use_elmur(ppo(env))])
def test_episodes_are_shown_as_text(config, saved, rllib):
    path, _ = saved(config("rllib_elmur/TMazePassive-v0"))
    code, output = rllib("evaluate", path, "--episodes", 2, "--render")
    assert code == 0 and output.count("step 1/") == 2
