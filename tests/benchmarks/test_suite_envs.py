"""The suite's own environments follow the rules that were published for them."""

import gymnasium as gym
import numpy as np
import pytest
import suite_envs
from gymnasium.utils.env_checker import check_env


def played(env, seed, actions=None):
    """The observations of an episode, its rewards and the last info."""
    observation, info = env.reset(seed=seed)
    seen, rewards, ended = [observation], [], False
    while not ended:
        action = env.action_space.sample() if actions is None else actions[len(rewards)]
        observation, reward, ended, truncated, info = env.step(action)
        assert not truncated
        seen.append(observation)
        rewards.append(reward)
    return np.array(seen), rewards, info


@pytest.mark.parametrize(
    "name", ["MemoryChain-v0", "CartPoleNoVel-v1", "PendulumNoVel-v1", "StatelessCartPole-v0"]
)
def test_an_environment_keeps_to_gymnasiums_interface(name):
    check_env(gym.make(f"suite_envs:{name}").unwrapped, skip_render_check=True)


@pytest.mark.parametrize(("length", "bits"), [(1, 1), (2, 1), (2, 5), (30, 1)])
def test_the_bits_are_shown_at_time_0_and_the_question_at_the_last_time(length, bits):
    env = suite_envs.MemoryChain(length, bits)
    seen, rewards, _ = played(env, seed=3)
    times = [0, *range(length + 1)]  # the first one twice
    assert len(rewards) == length + 1 and rewards[:-1] == [0.0] * length
    np.testing.assert_allclose(seen[:, 0], [1 - time / length for time in times], atol=1e-6)
    for time, observation in zip(times, seen, strict=True):
        assert set(np.abs(observation[2:])) == {1.0 if time == 0 else 0.0}
        assert observation[1] == 0 or time == length - 1


def test_only_the_last_action_counts_and_must_be_the_bit_that_is_asked_for():
    env, asked = suite_envs.MemoryChain(2, 5), set()
    for seed in range(40):
        seen, _, _ = played(env, seed)
        question = int(seen[2][1])
        bit = int(seen[0][2 + question] > 0)
        for last in (0, 1):
            _, rewards, info = played(env, seed, [0, 1, last])
            assert rewards[-1] == (1.0 if last == bit else -1.0)
            assert info["success"] == (last == bit)
        asked.add((question, bit))
    assert asked == {(question, bit) for question in range(5) for bit in (0, 1)}


def test_the_settings_are_bsuites():
    assert len(suite_envs.MEMORY_LENGTHS) == 23 and suite_envs.MEMORY_LENGTHS[-1] == 100
    assert len(suite_envs.MEMORY_SIZES) == 17 and suite_envs.MEMORY_SIZES[-1] == 40


@pytest.mark.parametrize(
    ("ours", "theirs", "hidden"),
    [("CartPoleNoVel-v1", "CartPole-v1", [1, 3]), ("PendulumNoVel-v1", "Pendulum-v1", [2])],
)
def test_velocities_are_0_and_all_else_is_as_it_was(ours, theirs, hidden):
    env, other = gym.make(f"suite_envs:{ours}"), gym.make(theirs)
    shown = np.delete(np.arange(other.observation_space.shape[0]), hidden)
    (seen, _), (full, _) = env.reset(seed=1), other.reset(seed=1)
    for _ in range(5):
        assert not seen[hidden].any() and np.array_equal(seen[shown], full[shown])
        assert full[hidden].all() and env.observation_space.contains(seen)
        action = other.action_space.sample()
        (seen, *ours_rest), (full, *rest) = env.step(action), other.step(action)
        assert ours_rest == rest
    limits = [made.get_wrapper_attr("_max_episode_steps") for made in (env, other)]
    assert limits[0] == limits[1] > 0


def test_minigrids_memory_shows_three_by_three_cells_one_hot():
    env = gym.make("suite_envs:MiniGridMemory-v0", size=7)
    seen, _ = env.reset(seed=0)
    assert env.unwrapped.max_steps == 5 * 7**2 and env.unwrapped.grid.width == 7
    assert env.observation_space.contains(seen) and seen.shape == (3 * 3 * 20,)
    cells = seen.reshape(9, 20)  # 11 objects, 6 colours, 3 states
    for part in (cells[:, :11], cells[:, 11:17], cells[:, 17:]):
        assert np.array_equal(part.sum(axis=1), np.ones(9))
