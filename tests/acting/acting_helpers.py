"""Environments that write down what passes through them, and the same steps by a policy."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tree
from plugin_helpers import RandomEnv, TwoAgents

import rllib_elmur


class Logs:
    """Writes down each episode of an environment: what it returned, and what it was given.

    A copy, since connectors change observations in place.
    """

    episodes: ClassVar[list[dict[str, Any]]]

    def reset(self, **options: Any) -> Any:
        observation, info = super().reset(**options)
        self.log = {"observations": [copied(observation)], "rewards": [0.0], "actions": []}
        self.episodes.append(self.log)
        return observation, info

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        observation, reward, *end = super().step(action)
        self.log["actions"].append(copied(action))
        self.log["observations"].append(copied(observation))
        self.log["rewards"].append(reward)
        return observation, reward, *end


class Logged(Logs, RandomEnv):
    """Random observations and rewards."""

    episodes: ClassVar[list[dict[str, Any]]] = []


class LoggedAgents(TwoAgents):
    """Writes down the same of each of two agents."""

    episodes: ClassVar[list[dict[str, Any]]] = []

    def reset(self, **options: Any) -> Any:
        observations, infos = super().reset(**options)
        self.log = {
            agent: {"observations": [copied(seen)], "rewards": [0.0], "actions": []}
            for agent, seen in observations.items()
        }
        LoggedAgents.episodes.append(self.log)
        return observations, infos

    def step(self, actions: Any) -> Any:
        observations, rewards, *end = super().step(actions)
        for agent, log in self.log.items():
            log["actions"].append(copied(actions[agent]))
            log["observations"].append(copied(observations[agent]))
            log["rewards"].append(rewards[agent])
        return observations, rewards, *end


def copied(value: Any) -> Any:
    return tree.map_structure(lambda x: np.array(x), value)


def rllibs_episodes(algo: Any, n: int = 8, env: Any = Logged) -> list[dict[str, Any]]:
    """What passes through the environments of RLlib's own env runner, which does not explore."""
    env.episodes.clear()
    algo.env_runner.sample(num_episodes=n, explore=False)
    return list(env.episodes)


def assert_close(a: Any, b: Any) -> None:
    """Categories are equal; sums of floats are rounded as a batch's size and past steps say."""
    tree.assert_same_structure(a, b)
    for x, y in zip(tree.flatten(a), tree.flatten(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-4 if x.dtype.kind == "f" else 0)


def assert_acts_alike(policy: Any, episodes: list[dict[str, list[Any]]]) -> None:
    """Holds a policy to the actions of episodes, one after the other."""
    assert sum(len(log["actions"]) for log in episodes) >= 18
    for log in episodes:
        policy.reset()
        for chosen, action in zip(replayed(policy, log), log["actions"], strict=True):
            assert policy.action_space.contains(chosen), chosen
            assert_close(copied(chosen), action)


def assert_survives_saving(policy: Any, episodes: list[dict[str, Any]], folder: Path) -> None:
    """Holds the policy that is saved and loaded to the actions of this one, to the last bit."""
    policy.save(folder)
    loaded = rllib_elmur.load_policy(folder)
    for kind in ("observation_space", "action_space"):
        assert getattr(loaded, kind) == getattr(policy, kind)
    for log in episodes:
        policy.reset()
        loaded.reset()
        pairs = zip(replayed(policy, log), replayed(loaded, log), strict=True)
        for expected, found in pairs:
            tree.map_structure(np.testing.assert_array_equal, expected, found)


def replayed(policy: Any, log: dict[str, list[Any]]) -> list[Any]:
    """What a policy does where an episode shows it the same."""
    steps = zip(log["observations"], log["rewards"], log["actions"], strict=False)
    return [policy.act(observation, reward) for observation, reward, _ in steps]
