"""The previous action and reward: the same while acting and in training, over every cut."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from plugin_helpers import (
    BOTH,
    ENV,
    SMALL,
    RandomEnv,
    TwoAgents,
    elmur_ppo,
    learner_module,
    play,
    ppo,
    shake,
    train_batch,
    unmoved,
    weights,
)
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule

import rllib_elmur
from rllib_elmur.model.previous import join_previous

ACTIONS = {
    "Discrete": Discrete(3),
    "MultiDiscrete": MultiDiscrete([2, 3]),
    "Box": Box(-2, 2, (2,)),
    "Box of float64": Box(-2, 2, (2,), np.float64),
    "Dict": Dict({"a": Discrete(2), "b": Box(-1, 1, (2,))}),
    "Tuple": Tuple([Discrete(2), MultiDiscrete([2, 3])]),
}


def add_one(actions: Any, space: gym.Space) -> Any:
    """Categories as the policy reads them: 0 is no action."""
    if isinstance(space, Dict):
        return {key: add_one(actions[key], part) for key, part in space.items()}
    if isinstance(space, Tuple):
        return tuple(add_one(action, part) for action, part in zip(actions, space, strict=True))
    return actions if isinstance(space, Box) else actions + 1


def is_zero(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(is_zero, value.values()))
    return all(map(is_zero, value)) if isinstance(value, tuple) else not np.any(value)


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), [b[key] for key in a]
    if isinstance(a, (list, tuple)):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        np.testing.assert_allclose(a, b, rtol=1e-6)


def check_fragments(fragments: list[Any], action_space: gym.Space) -> int:
    """Holds every observation against the step before it; returns the fragments that go on."""
    last, continued = {}, 0
    for fragment in fragments:
        for t in range(len(fragment) + 1):
            seen = fragment.get_observations(t)
            if fragment.t_started + t == 0:
                assert is_zero(seen["previous_action"])
                assert is_zero(seen["previous_reward"])
                continue
            if t == 0:
                continued += 1
                action, reward = last[fragment.id_]
            else:
                action, reward = fragment.get_actions(t - 1), fragment.get_rewards(t - 1)
            assert_same(seen["previous_action"], add_one(action, action_space))
            assert_same(seen["previous_reward"], reward)
        last[fragment.id_] = fragment.get_actions(-1), fragment.get_rewards(-1)
    return continued


@pytest.mark.parametrize("action", ACTIONS)
def test_the_previous_step_is_right_over_every_cut(action: str) -> None:
    space = ACTIONS[action]
    config = elmur_ppo(RandomEnv, ENV | {"action": space}, **BOTH)
    config.env_runners(num_envs_per_env_runner=3)
    algo = config.build_algo()
    random = np.random.default_rng(0)
    fragments = []
    for _ in range(8):
        sampled = algo.env_runner.sample(num_timesteps=int(random.integers(1, 40)))
        for fragment in sampled:
            assert all(
                fragment.observation_space.contains(fragment.get_observations(t))
                for t in range(len(fragment) + 1)
            )
        fragments += sampled
    assert check_fragments(fragments, space) > 5
    algo.stop()


def test_whole_episodes_and_evaluation_see_the_previous_step_too() -> None:
    config = elmur_ppo(RandomEnv, ENV, **BOTH)
    config.env_runners(batch_mode="complete_episodes").evaluation(
        evaluation_interval=1, evaluation_num_env_runners=0, evaluation_duration=3
    )
    algo = config.build_algo()
    assert check_fragments(algo.env_runner.sample(num_episodes=6), Discrete(3)) == 0
    evaluated = algo.eval_env_runner_group.local_env_runner.sample(num_episodes=3, explore=False)
    assert check_fragments(evaluated, Discrete(3)) == 0
    assert algo.train()["evaluation"]["env_runners"]["num_episodes"] >= 3
    algo.stop()


def test_the_learner_sees_what_the_policy_saw() -> None:
    config = elmur_ppo(RandomEnv, ENV, **BOTH)
    config.env_runners(num_envs_per_env_runner=3)
    algo = config.build_algo()
    shake(algo)
    episodes = [e for n in (7, 30, 11, 40) for e in algo.env_runner.sample(num_timesteps=n)]
    lookup = {
        tuple(episode.get_observations(t)["observation"]): episode.get_observations(t)
        for episode in episodes
        for t in range(len(episode) + 1)
    }
    batch = train_batch(algo, episodes)
    seen = {key: value.numpy() for key, value in batch[Columns.OBS].items()}
    n_found = 0
    for row, t in np.argwhere(batch[Columns.LOSS_MASK].numpy()):
        stored = lookup[tuple(seen["observation"][row, t])]
        assert seen["previous_action"][row, t] == stored["previous_action"]
        assert seen["previous_reward"][row, t] == stored["previous_reward"]
        n_found += seen["previous_action"][row, t] > 0
    assert n_found > 40
    logits = learner_module(algo).forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    error = (logits - batch[Columns.ACTION_DIST_INPUTS])[batch[Columns.LOSS_MASK]].abs().max()
    assert error <= 1e-5
    algo.stop()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"previous_action": True}, {"observation", "previous_action"}),
        ({"previous_reward": True}, {"observation", "previous_reward"}),
    ],
)
def test_only_the_parts_that_are_on_are_added_and_all_parameters_move(
    options: dict[str, Any], parts: set[str]
) -> None:
    algo = elmur_ppo(**options).build_algo()
    module = learner_module(algo)
    assert set(module.observation_space.keys()) == parts
    before = weights(module)
    algo.train()
    assert unmoved(before, weights(module)) == []
    algo.stop()


def test_it_is_saved_restored_and_acts_in_a_gymnasium_loop(tmp_path: Path) -> None:
    env_config = ENV | {"action": ACTIONS["Dict"]}
    algo = elmur_ppo(RandomEnv, env_config, **BOTH).build_algo()
    algo.train()
    algo.save_to_path(tmp_path)
    algo.stop()
    restored = Algorithm.from_checkpoint(tmp_path)
    restored.train()
    restored.stop()
    module = RLModule.from_checkpoint(tmp_path / "learner_group/learner/rl_module/default_policy")
    seen = []

    def observe(*what: Any) -> Any:
        seen.append(join_previous(module.observation_space, module.action_space, *what))
        return seen[-1]

    play(module, RandomEnv(env_config), 12, observe)
    for observation in seen:
        assert module.observation_space.contains(observation)
    assert is_zero(seen[0]["previous_action"])
    assert not is_zero(seen[2])


def test_agents_of_a_multi_agent_environment_each_see_their_own() -> None:
    config = ppo(TwoAgents, {"length": 6}).multi_agent(
        policies={"first", "second"}, policy_mapping_fn=lambda agent, episode, **kwargs: agent
    )
    rllib_elmur.use_elmur(config, **SMALL, **BOTH)
    algo = config.build_algo()
    episodes = [e for n in (5, 9, 8) for e in algo.env_runner.sample(num_timesteps=n)]
    fragments = [part for episode in episodes for part in episode.agent_episodes.values()]
    assert check_fragments(fragments, Discrete(3)) > 2
    before = {key: weights(learner_module(algo, key)) for key in ("first", "second")}
    algo.train()
    for key, old in before.items():
        assert unmoved(old, weights(learner_module(algo, key))) == []
    algo.stop()
