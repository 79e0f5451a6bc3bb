"""What an episode of the passive T-Maze is, step by step."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rllib_elmur  # noqa: F401 (registers the ids)
from rllib_elmur.envs import TMazePassiveEnv

RIGHT, UP, LEFT, DOWN = range(4)


def started(seed=0, **options):
    env = TMazePassiveEnv(**options)
    observation, info = env.reset(seed=seed)
    return env, observation, info


def play(env, actions):
    return [env.step(action) for action in actions]


def turn_for(hint, right=True):
    return UP if (hint > 0) == right else DOWN


def plain_episode(hint, actions, length, hint_steps, goal, penalty, penalty_rule, slack):
    """The rule in one plain loop: (y, hint shown, flag, reward, ended) after each step."""
    penalty = -1 / length if penalty is None else penalty
    limit, x, y, rows = round(slack * length) + 1, 0, 0, []
    for t, action in enumerate(actions, start=1):
        before, reward, ended = x, 0.0, False
        if action == RIGHT and x < length:
            x += 1
        elif action == LEFT and x > 0:
            x -= 1
        elif action in (UP, DOWN) and x == length:
            y = 1 if action == UP else -1
            reward, ended = (goal if y == hint else 0.0), True
        if not ended:
            ended = t >= limit
            behind = x < t if penalty_rule == "behind_schedule" else x <= before
            reward = penalty if behind and not ended else 0.0
        rows.append((y, hint if t < hint_steps else 0, float(x == length), reward, ended))
        if ended:
            break
    return rows


mostly_right = st.lists(st.sampled_from([RIGHT] * 5 + [UP, LEFT, DOWN]), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**64),
    actions=mostly_right,
    length=st.integers(1, 12),
    hint_steps=st.integers(1, 5),
    goal=st.sampled_from([1.0, 2.5]),
    penalty=st.sampled_from([None, 0.0, -0.25]),
    penalty_rule=st.sampled_from(["behind_schedule", "standing_still"]),
    slack=st.sampled_from([1.0, 1.5, 2.0]),
)
def test_every_step_follows_the_rule_written_as_a_plain_loop(
    seed, actions, length, hint_steps, goal, penalty, penalty_rule, slack
):
    env, first, _ = started(
        seed,
        corridor_length=length,
        hint_steps=hint_steps,
        goal_reward=goal,
        penalty=penalty,
        penalty_rule=penalty_rule,
        slack=slack,
    )
    expected = plain_episode(
        first[1], actions, length, hint_steps, goal, penalty, penalty_rule, slack
    )
    for action, (y, shown, flag, reward, ended) in zip(actions, expected, strict=False):
        observation, got_reward, terminated, truncated, info = env.step(action)
        assert observation[:3].tolist() == [y, shown, flag]
        assert observation[3] in (-1, 0, 1)
        assert (got_reward, terminated, truncated) == (pytest.approx(reward), ended, False)
        assert ("success" in info) == ended
        assert info["corridor_length"] == length
        if ended:
            assert info["success"] is bool(y != 0 and y == first[1])


@pytest.mark.parametrize("seed", range(6))
def test_right_turn_ends_the_episode_with_the_goal_reward(seed):
    env, first, _ = started(seed, corridor_length=5, goal_reward=3.0)
    steps = play(env, [RIGHT] * 5 + [turn_for(first[1])])
    assert [s[1] for s in steps] == [0, 0, 0, 0, 0, 3.0]
    assert [s[2] for s in steps] == [False] * 5 + [True]
    assert steps[-1][4]["success"] is True


@pytest.mark.parametrize("seed", range(6))
def test_wrong_turn_ends_the_episode_with_reward_zero(seed):
    env, first, _ = started(seed, corridor_length=5, slack=2.0)
    *_, (observation, reward, terminated, truncated, info) = play(
        env, [RIGHT] * 5 + [turn_for(first[1], right=False)]
    )
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)
    assert observation[:3].tolist() == [-first[1], 0, 1]


def test_time_out_terminates_with_reward_zero_and_no_penalty():
    env, _, _ = started(corridor_length=3)
    steps = play(env, [LEFT] * 4)
    assert [s[1] for s in steps] == [pytest.approx(-1 / 3)] * 3 + [0.0]
    assert steps[-1][2:] == (True, False, {"corridor_length": 3, "success": False})


def test_one_lost_step_leaves_no_time_to_turn_unless_there_is_slack():
    env, _, _ = started(corridor_length=4)
    assert play(env, [LEFT] + [RIGHT] * 4)[-1][2]
    env, first, _ = started(corridor_length=4, slack=2.0)
    assert play(env, [LEFT] + [RIGHT] * 4 + [turn_for(first[1])])[-1][4]["success"]


def test_walls_leave_the_agent_where_it_is():
    env, first, _ = started(corridor_length=3, slack=5.0)
    play(env, [UP, DOWN, LEFT, RIGHT, RIGHT, RIGHT, RIGHT])
    observation, _, terminated, _, _ = env.step(RIGHT)
    assert observation[[0, 2]].tolist() == [0, 1] and not terminated
    assert env.step(LEFT)[0][2] == 0
    assert env.step(RIGHT)[0][2] == 1
    assert env.step(turn_for(first[1]))[4]["success"]


def test_literature_penalty_is_charged_on_every_step_after_one_lost_step():
    env, _, _ = started(corridor_length=4, slack=2.0)
    rewards = [s[1] for s in play(env, [RIGHT, LEFT, RIGHT, RIGHT, RIGHT])]
    assert rewards == [0, -0.25, -0.25, -0.25, -0.25]


def test_standing_still_penalty_is_charged_only_on_steps_that_do_not_advance():
    env, _, _ = started(corridor_length=4, slack=3.0, penalty_rule="standing_still", penalty=-0.5)
    rewards = [s[1] for s in play(env, [RIGHT, LEFT, UP, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT])]
    assert rewards == [0, -0.5, -0.5, 0, 0, 0, 0, -0.5]


@pytest.mark.parametrize("hint_steps", [1, 3])
def test_hint_is_seen_in_the_first_observations_only(hint_steps):
    env, first, _ = started(corridor_length=6, hint_steps=hint_steps)
    hints = [first[1]] + [s[0][1] for s in play(env, [RIGHT] * 6)]
    assert hints == [first[1]] * hint_steps + [0] * (7 - hint_steps)


def test_both_hints_all_noises_and_all_lengths_come_about_equally_often():
    envs = gymnasium.make_vec("rllib_elmur/TMazePassive-v0", 6000, corridor_length=[3, 7])
    observation, info = envs.reset(seed=1)
    after = envs.step(np.zeros(6000, dtype=np.int64))[0]
    for values, count in [
        (observation[:, 1], 2),
        (observation[:, 3], 3),
        (after[:, 3], 3),
        (info["corridor_length"], 5),
        (observation[:, 1] + 10 * observation[:, 3] + 100 * info["corridor_length"], 30),
        (observation[:, 3] + 10 * after[:, 3], 9),
    ]:
        found, counts = np.unique(values, return_counts=True)
        assert len(found) == count
        expected = 6000 / count
        assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)


def test_each_episode_of_one_environment_is_another_one():
    env, _, _ = started(corridor_length=[1, 10**6])
    assert len({env.reset()[1]["corridor_length"] for _ in range(50)}) == 50


def test_ten_thousand_step_corridor_is_walked_to_its_end():
    env, first, _ = started(corridor_length=10_000)
    steps = play(env, [RIGHT] * 10_000 + [turn_for(first[1])])
    assert sum(s[0][2] for s in steps) == 2
    assert steps[-1][1] == 1.0 and sum(s[1] for s in steps) == 1.0
