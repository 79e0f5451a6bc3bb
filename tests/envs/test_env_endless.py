"""Corrections of a hint, and corridors that follow each other."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

from rllib_elmur.envs import TMazeEndlessEnv, TMazePassiveEnv

RIGHT, UP, _, DOWN = range(4)


def walk(env, seed, turn=lambda cues: cues[-1]):
    """An episode that turns as `turn` says of the cues seen; observations, rewards, last info."""
    observation, _ = env.reset(seed=seed)
    rows, rewards, ended = [observation], [], False
    while not ended:
        action = RIGHT
        if observation[2]:
            action = UP if turn([row[1] for row in rows if row[1]]) > 0 else DOWN
        observation, reward, ended, _, info = env.step(action)
        rows.append(observation)
        rewards.append(reward)
    return np.array(rows), rewards, info


@pytest.mark.parametrize("corrections", [1, 4])
def test_the_last_cue_counts(corrections):
    env = TMazePassiveEnv(corridor_length=12, corrections=corrections)
    counts = []
    for seed in range(200):
        rows, rewards, info = walk(env, seed)
        assert info["success"] and rewards[-1] == 1
        times = np.flatnonzero(rows[:, 1])
        assert times[0] == 0 and len(times) <= corrections + 1 and times[-1] < 12
        counts.append(len(times) - 1)
    assert set(counts) == set(range(corrections + 1))
    wrong = [walk(env, seed, lambda cues: cues[0])[2]["success"] for seed in range(200)]
    assert 0.5 < np.mean(wrong) < 0.9


def test_a_correction_comes_at_any_time_after_the_hint_and_says_either():
    env = TMazePassiveEnv(corridor_length=6, corrections=1, hint_steps=2)
    found = set()
    for seed in range(300):
        rows, _, _ = walk(env, seed)
        found |= {(t, rows[t, 1]) for t in np.flatnonzero(rows[:, 1]) if t >= 2}
    assert found == {(t, value) for t in range(2, 6) for value in (-1, 1)}


def test_without_corrections_nothing_is_drawn_for_them():
    plain, none = TMazePassiveEnv(), TMazePassiveEnv(corrections=0)
    assert plain.task.start(np.arange(9, dtype=np.uint64)).cues.begin.shape == (9, 1)
    assert none.task.corrections == 0


def test_right_turns_lead_on_and_pay():
    env = TMazeEndlessEnv(corridor_length=[2, 5], junctions=4, goal_reward=2.0)
    for seed in range(30):
        rows, rewards, info = walk(env, seed)
        hints = np.flatnonzero(rows[:, 1])
        assert info["success"] and len(hints) == 4 and rewards.count(2.0) == 4
        # Each corridor begins on the step after a junction, with a hint of its own.
        np.testing.assert_array_equal(hints[1:], np.flatnonzero(rows[:-2, 2])[:3] + 1)
        assert set(np.diff([*hints, len(rows) - 1]) - 1) <= {2, 3, 4, 5}


def test_the_hint_before_is_worth_nothing():
    env = TMazeEndlessEnv(corridor_length=3, junctions=5)
    outcomes = [walk(env, seed, lambda cues: cues[0]) for seed in range(200)]
    passed = [rewards.count(1.0) for _, rewards, _ in outcomes]
    assert 0 < np.mean([info["success"] for _, _, info in outcomes]) < 0.2
    assert 1.5 < np.mean(passed) < 2.5  # the first for sure, each further one by half


def test_a_wrong_turn_or_a_step_too_many_ends_the_episode():
    env = TMazeEndlessEnv(corridor_length=3, junctions=5)
    _, rewards, info = walk(env, 0, lambda cues: -cues[-1])
    assert not info["success"] and sum(rewards) == 0
    env.reset(seed=0)
    for _ in range(3):
        _, reward, ended, _, _ = env.step(DOWN)
        assert not ended and reward == pytest.approx(-1 / 3)
    assert env.step(RIGHT)[2]
    # The time of each corridor counts anew.
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        observation, reward, _, _, _ = env.step(RIGHT)
        hint = observation[1] or None
    first = walk(env, 0)[0][0, 1]
    env.reset(seed=0)
    for _ in range(3):
        env.step(RIGHT)
    env.step(UP if first > 0 else DOWN)
    assert hint is None
    assert [env.step(DOWN)[2] for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("options", [{"junctions": 3}, {"junctions": [1, 4], "corrections": 2}])
def test_scalar_and_vector_form_agree(options):
    options = {"corridor_length": [2, 5], "slack": 1.5, **options}
    name = "rllib_elmur/TMazeEndless-v0"
    check_env(gymnasium.make(name, **options).unwrapped, skip_render_check=True)
    vector = gymnasium.make_vec(
        name, num_envs=4, vectorization_mode="vector_entry_point", **options
    )
    scalar = SyncVectorEnv([lambda: gymnasium.make(name, **options)] * 4)
    generator = np.random.default_rng(0)
    observation, other = vector.reset(seed=5)[0], scalar.reset(seed=5)[0]
    for _ in range(400):
        np.testing.assert_array_equal(observation, other)
        action = np.where(observation[:, 2] > 0, generator.choice([UP, DOWN], 4), RIGHT)
        action = np.where(generator.random(4) < 0.1, DOWN, action)
        (observation, *outcome, _), (other, *expected, _) = vector.step(action), scalar.step(action)
        for found, wanted in zip(outcome, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_options_of_other_mazes_are_refused():
    with pytest.raises(ValueError, match="junctions=0: must be an integer from 1"):
        TMazeEndlessEnv(junctions=0)
    with pytest.raises(ValueError, match="'junctions'"):
        TMazePassiveEnv(junctions=3)
    with pytest.raises(ValueError, match="corrections=-1"):
        TMazePassiveEnv(corrections=-1)
