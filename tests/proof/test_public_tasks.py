"""Finite descriptions of tasks that others wrote, held against their own environments."""

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import popgym  # noqa: F401 (registers the ids)
import pytest
from test_search import scripts

from rllib_elmur.envs import describe, public_tasks
from rllib_elmur.errors import UserError
from rllib_elmur.proof.description import finite_task_of
from rllib_elmur.proof.minimal import _needed

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

CARDS = [
    ("popgym-RepeatFirstEasy-v0", public_tasks.repeat_first),
    ("popgym-RepeatFirstMedium-v0", public_tasks.repeat_first),
    ("popgym-RepeatPreviousEasy-v0", public_tasks.repeat_previous),
]


@pytest.mark.parametrize(("name", "describes"), CARDS)
def test_what_a_description_calls_correct_earns_the_most_that_there_is(name, describes):
    env = gym.make(name)
    task = finite_task_of(env, describes)
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        situation, total, ended = 0, 0.0, False
        while not ended:
            here = np.flatnonzero(task.source == situation)
            (edge,) = here[task.observation[here] == observation]
            action = np.flatnonzero(task.correct[edge])[-1]
            observation, reward, ended, _, _ = env.step(int(action))
            situation, total = task.target[edge], total + reward
        assert total == pytest.approx(1.0)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_chain_is_described_as_it_describes_itself(length):
    import suite_envs

    env = suite_envs.MemoryChain(memory_length=length)
    task = finite_task_of(env, public_tasks.memory_chain)
    own = describe(
        env,
        state=lambda chain: (int(chain._bits[0]), chain._steps),
        correct=lambda chain: chain._bits if chain._steps == length else [0, 1],
    )

    def episodes(described):
        return {
            tuple((*described.observation[edge], *described.correct[edge]) for edge in path)
            for path in scripts(described, length + 1)
        }

    assert episodes(task) == episodes(own) and len(episodes(task)) == 2


def test_a_chain_with_more_bits_is_another_task():
    import suite_envs

    with pytest.raises(UserError, match="MemoryChain"):
        finite_task_of(suite_envs.MemoryChain(3, num_bits=2), public_tasks.memory_chain)


def test_three_cards_before_the_one_that_is_seen_are_needed():
    task = public_tasks.repeat_previous(gym.make("popgym-RepeatPreviousEasy-v0"))
    full = np.arange(1 + 4 + 16, 1 + 4 + 16 + 64)
    assert _needed(task, full) == 64
    first = public_tasks.repeat_first(gym.make("popgym-RepeatFirstEasy-v0"))
    assert _needed(first, np.arange(1, 5)) == 4
