"""Random numbers as a function of seed and counter, and states built from them."""

import numpy as np

from rllib_elmur.envs.passive import PassiveTMaze
from rllib_elmur.envs.random_numbers import episode_seeds, random_bits, random_integers
from rllib_elmur.envs.rule import replace_episodes


def test_bits_are_those_published_for_splitmix64():
    seed = np.full(3, 1234567, dtype=np.uint64)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert random_bits(seed, np.arange(1, 4)).tolist() == published


def test_integers_cover_the_range_with_both_ends_and_nothing_beyond():
    seed = episode_seeds(np.arange(3000, dtype=np.uint64), np.zeros(3000, dtype=np.int64))
    assert set(random_integers(seed, np.arange(3000), -2, 3).tolist()) == set(range(-2, 4))
    assert set(random_integers(seed, np.arange(3000), 5, 5).tolist()) == {5}
    wide = random_integers(seed, np.arange(3000), 1, 2**31 - 1)
    assert 1 <= wide.min() < 2**22 and 2**31 - 2**22 < wide.max() < 2**31


def test_neighbouring_seeds_share_no_episode():
    env_seed, episode = np.divmod(np.arange(100 * 100), 100)
    seeds = episode_seeds(env_seed.astype(np.uint64), episode)
    assert len(np.unique(seeds)) == 100 * 100


def test_replacing_episodes_leaves_the_given_state_as_it_was():
    task = PassiveTMaze(corridor_length=(3, 90))
    state, fresh = (task.start(np.arange(n, n + 4, dtype=np.uint64)) for n in (0, 100))
    before = [array.copy() for array in (*state[:-2], *state.cues)]
    rows = np.array([1, 3])
    taken = replace_episodes(state, rows, task.start(np.array([101, 103], dtype=np.uint64)))
    for now, then in zip((*state[:-2], *state.cues), before, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(taken.seed, [0, 101, 2, 103])
    np.testing.assert_array_equal(taken.corridor_length[rows], fresh.corridor_length[rows])
    np.testing.assert_array_equal(taken.cues.value[rows], fresh.cues.value[rows])
    np.testing.assert_array_equal(taken.cues.value[[0, 2]], state.cues.value[[0, 2]])
