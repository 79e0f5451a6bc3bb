"""The T-Maze of several cues: what is told, what is asked, what is paid."""

from itertools import permutations
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_elmur.envs import TMazeMultiCueEnv, TMazeMultiCueVectorEnv

RIGHT, UP, LEFT, DOWN = range(4)
NAME = "rllib_elmur/TMazeMultiCue-v0"
OPTIONS = [
    {"cues": 1, "corridor_length": 0},
    {"cues": 4},
    {"cues": 8, "corridor_length": 0},
    {"cues": 3, "values": 5, "corridor_length": [0, 4]},
    {"cues": 5, "values": 3, "corridor_length": [2, 6], "hint_steps": 3, "slack": 2.0},
    {"cues": 32, "values": 32, "corridor_length": [0, 1]},
]
every_form = pytest.mark.parametrize("options", OPTIONS, ids=str)


def action_of(value):
    """The documented action for each value: up, down, then the actions after the usual four."""
    return [UP, DOWN][value] if value < 2 else value + 2


def parts(observation, cues):
    """Index and value told, None for nothing, and the flag."""
    index, value, flag = observation[:cues], observation[cues:-2], observation[-2]
    assert index.sum() in (0, 1) and value.sum() in (0, 1) and flag in (0, 1)
    assert observation[-1] in (-1, 0, 1)
    return (
        int(index.argmax()) if index.any() else None,
        int(value.argmax()) if value.any() else None,
        bool(flag),
    )


def play(env, seed, answer=lambda known, index: known[index], waiting=RIGHT):
    """An episode; at a junction `answer` gives a value from those told and the index asked for."""
    cues = env.task.cues
    observation, info = env.reset(seed=seed)
    told, asked, rewards, lengths, flags, ended = [], [], [], [], [], False
    while not ended:
        index, value, flag = parts(observation, cues)
        action = waiting if len(told) < cues * env.task.hint_steps else RIGHT
        if value is not None:
            told.append((index, value))
        if flag:
            asked.append(index)
            lengths.append(info["corridor_length"])
            action = action_of(answer(dict(told), index))
        flags.append(flag)
        observation, reward, ended, truncated, info = env.step(action)
        assert not truncated and ("success" in info) == ended
        rewards.append(reward)
    return SimpleNamespace(
        told=told, asked=asked, rewards=rewards, lengths=lengths, flags=flags, info=info
    )


@every_form
def test_each_cue_is_told_once_and_asked_for_once(options):
    env = TMazeMultiCueEnv(**options)
    for seed in range(20):
        episode = play(env, seed)
        steps = env.task.hint_steps
        assert episode.told == [cue for cue in episode.told[::steps] for _ in range(steps)]
        assert sorted(index for index, _ in episode.told[::steps]) == list(range(env.task.cues))
        assert sorted(episode.asked) == list(range(env.task.cues))


@every_form
def test_whoever_binds_each_value_to_its_index_has_full_success(options):
    env = TMazeMultiCueEnv(goal_reward=2.0, **options)
    for seed in range(20):
        episode = play(env, seed)
        assert episode.info["success"] == 1.0
        assert sum(episode.rewards) == pytest.approx(2.0)
        # Each right turn pays the same, and nothing else is paid or charged.
        paid = np.array(episode.rewards)
        np.testing.assert_array_equal(paid, np.where(episode.flags, 2.0 / env.task.cues, 0.0))


@every_form
def test_all_cues_come_before_the_first_question_and_corridors_are_as_long_as_said(options):
    env = TMazeMultiCueEnv(**options)
    low, high = env.task.length_range
    lengths = set()
    for seed in range(60):
        episode = play(env, seed)
        before = env.task.cues * env.task.hint_steps
        at = np.flatnonzero(episode.flags)
        walked = np.diff([before - 1, *at]) - 1
        np.testing.assert_array_equal(walked, episode.lengths)
        assert len(episode.flags) == before + sum(walked) + env.task.cues
        lengths |= set(walked.tolist())
    assert lengths == set(range(low, high + 1))


def test_without_corridors_one_question_follows_the_other():
    episode = play(TMazeMultiCueEnv(cues=5, corridor_length=0), 0)
    assert episode.flags == [False] * 5 + [True] * 5


def test_a_wrong_answer_pays_nothing_and_leads_on():
    env = TMazeMultiCueEnv(cues=6, values=3, corridor_length=[0, 3])
    for seed in range(20):
        episode = play(env, seed, lambda known, index: (known[index] + (index in (1, 4))) % 3)
        assert len(episode.asked) == 6
        assert episode.info["success"] == pytest.approx(4 / 6)
        paid = [reward for reward, flag in zip(episode.rewards, episode.flags, strict=True) if flag]
        expected = [0.0 if index in (1, 4) else 1 / 6 for index in episode.asked]
        assert paid == pytest.approx(expected)


def test_no_answer_in_time_counts_as_a_wrong_one_and_leads_on():
    env = TMazeMultiCueEnv(cues=2, corridor_length=3, slack=2.0, penalty=0.0)
    observation, _ = env.reset(seed=0)
    known = {}
    for _ in range(2):
        index, value, _ = parts(observation, 2)
        known[index] = value
        observation, *_ = env.step(RIGHT)
    for _ in range(7):  # round(2.0 * 3) + 1
        observation, reward, ended, _, info = env.step(LEFT)
        assert reward == 0 and not ended and "success" not in info
    for _ in range(3):
        assert parts(observation, 2) == (None, None, False)
        observation, *_ = env.step(RIGHT)
    index, _, flag = parts(observation, 2)
    assert flag
    _, reward, ended, _, info = env.step(action_of(known[index]))
    assert (reward, ended, info["success"]) == (0.5, True, 0.5)


@pytest.mark.parametrize("action", [RIGHT, LEFT])
def test_without_corridors_what_is_no_answer_is_a_wrong_one(action):
    env = TMazeMultiCueEnv(cues=3, corridor_length=0)
    env.reset(seed=0)
    outcomes = [env.step(action)[1:3] for _ in range(6)]
    assert outcomes == [(0.0, False)] * 5 + [(0.0, True)]


@every_form
def test_until_all_cues_are_told_no_action_moves_costs_or_answers(options):
    for rule in ("behind_schedule", "standing_still"):
        env = TMazeMultiCueEnv(penalty=-1.0, penalty_rule=rule, **options)
        for seed in range(3):
            right = play(env, seed)
            for action in range(1, min(env.action_space.n, 6)):
                assert play(env, seed, waiting=action) == right


@pytest.mark.parametrize("values", [2, 3, 8])
def test_a_guess_is_right_once_in_as_many_times_as_there_are_values(values):
    env = TMazeMultiCueEnv(cues=8, values=values, corridor_length=0)
    rng = np.random.default_rng(0)
    success = [
        play(env, seed, lambda known, index: int(rng.integers(values))).info["success"]
        for seed in range(300)
    ]
    chance = 1 / values
    assert abs(np.mean(success) - chance) < 4 * np.sqrt(chance * (1 - chance) / (8 * 300))


@pytest.mark.parametrize("cues", [4, 8])
def test_to_remember_the_values_without_their_indices_is_not_enough(cues):
    env = TMazeMultiCueEnv(cues=cues, corridor_length=0)

    def most(known, index):
        return int(np.mean(list(known.values())) > 0.5)

    def last(known, index):
        return list(known.values())[-1]

    for answer in (most, last):
        success = [play(env, seed, answer).info["success"] for seed in range(200)]
        assert 0.5 < np.mean(success) < 0.75


def test_all_orders_and_values_come_about_equally_often_whatever_the_others():
    envs = TMazeMultiCueVectorEnv(num_envs=7200, cues=3, corridor_length=0)
    rows = [envs.reset(seed=0)[0]]
    rows += [envs.step(np.zeros(7200, dtype=np.int64))[0] for _ in range(5)]
    index = np.stack(rows)[:, :, :3].argmax(-1)
    value = np.stack(rows)[:3, :, 3:5].argmax(-1)
    order = {order: place for place, order in enumerate(permutations(range(3)))}
    told, asked = (
        np.array([order[tuple(column)] for column in part.T]) for part in (index[:3], index[3:])
    )
    for found, count in [
        (told, 6),
        (told + 6 * asked, 36),
        (asked + 6 * (value * [[1], [2], [4]]).sum(0), 48),
        (rows[3][:, -1], 3),
    ]:
        seen, counts = np.unique(found, return_counts=True)
        assert len(seen) == count
        assert np.abs(counts - 7200 / count).max() < 4.5 * np.sqrt(7200 / count)


def test_a_seed_decides_the_episode_and_another_seed_gives_another():
    env = TMazeMultiCueEnv(cues=6, corridor_length=[0, 9])
    assert play(env, 3) == play(TMazeMultiCueEnv(cues=6, corridor_length=[0, 9]), 3)
    different = {str((e.told, e.asked, e.lengths)) for e in (play(env, s) for s in range(50))}
    assert len(different) == 50


def plain_episode(told, asked, actions, length, goal, penalty, penalty_rule, slack, hint_steps):
    """The rule in one plain loop: (index, value, flag, reward, success or None) after each step."""
    cues = len(asked)
    known = dict(told)
    charge = -1 / (length + 1) / cues if penalty is None else penalty
    shown = [cue for cue in told for _ in range(hint_steps)]
    waited, x, steps, junction, right, rows = 0, 0, 0, 0, 0, []
    for action in actions:
        reward, success = 0.0, None
        if waited < len(shown):
            waited += 1
        else:
            steps, before, left = steps + 1, x, steps + 1 >= round(slack * length) + 1
            if x == length and action not in (RIGHT, LEFT):
                left = True
                if action == action_of(known[asked[junction]]):
                    reward, right = goal / cues, right + 1
            elif action == RIGHT:
                x = min(x + 1, length)
            elif action == LEFT:
                x = max(x - 1, 0)
            if left:
                x, steps, junction = 0, 0, junction + 1
                success = right / cues if junction == cues else None
            elif x < steps if penalty_rule == "behind_schedule" else x <= before:
                reward = charge
        if success is not None:
            return [*rows, (None, None, None, reward, success)]
        index, value = shown[waited] if waited < len(shown) else (None, None)
        flag = waited == len(shown) and x == length
        rows.append((asked[junction] if flag else index, value, flag, reward, None))
    return rows


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**64),
    draw=st.integers(0, 2**32),
    cues=st.integers(1, 5),
    values=st.integers(2, 4),
    length=st.integers(0, 5),
    hint_steps=st.integers(1, 3),
    goal=st.sampled_from([1.0, 2.5]),
    penalty=st.sampled_from([None, 0.0, -0.25]),
    penalty_rule=st.sampled_from(["behind_schedule", "standing_still"]),
    slack=st.sampled_from([1.0, 1.5, 2.0]),
)
def test_every_step_follows_the_rule_written_as_a_plain_loop(
    seed, draw, cues, values, length, hint_steps, goal, penalty, penalty_rule, slack
):
    env = TMazeMultiCueEnv(
        corridor_length=length,
        cues=cues,
        values=values,
        hint_steps=hint_steps,
        goal_reward=goal,
        penalty=penalty,
        penalty_rule=penalty_rule,
        slack=slack,
    )
    script = play(env, seed)
    told = script.told[::hint_steps]
    rng = np.random.default_rng(draw)
    actions = np.where(rng.random(150) < 0.6, RIGHT, rng.integers(values + 2, size=150)).tolist()
    expected = plain_episode(
        told, script.asked, actions, length, goal, penalty, penalty_rule, slack, hint_steps
    )
    observation, _ = env.reset(seed=seed)
    assert parts(observation, cues) == (*told[0], False)
    for action, (*seen, reward, success) in zip(actions, expected, strict=False):
        observation, got, ended, truncated, info = env.step(action)
        assert got == pytest.approx(reward) and not truncated
        assert info["corridor_length"] == length
        assert ended == (success is not None)
        if ended:
            assert info["success"] == pytest.approx(success)
        else:
            assert parts(observation, cues) == tuple(seen)


@every_form
def test_scalar_and_vector_form_agree(options):
    check_env(gymnasium.make(NAME, **options).unwrapped, skip_render_check=True)
    vector = gymnasium.make_vec(
        NAME, num_envs=4, vectorization_mode="vector_entry_point", **options
    )
    scalar = SyncVectorEnv([lambda: gymnasium.make(NAME, **options)] * 4)
    generator = np.random.default_rng(0)
    observation, other = vector.reset(seed=5)[0], scalar.reset(seed=5)[0]
    finished = 0
    for _ in range(300):
        np.testing.assert_array_equal(observation, other)
        answer = generator.integers(vector.single_action_space.n, size=4)
        action = np.where(observation[:, -2] > 0, answer, RIGHT)
        left, right = vector.step(action), scalar.step(action)
        observation, *outcome, info = left
        other, *expected, other_info = right
        for found, wanted in zip(outcome, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert info.keys() == other_info.keys()
        for key in info:
            np.testing.assert_array_equal(info[key], other_info[key])
            assert info[key].dtype == other_info[key].dtype
        finished += outcome[1].sum()
    assert finished > 0


@pytest.mark.parametrize("values", [2, 3, 32])
def test_there_is_an_action_for_each_value_and_the_usual_four(values):
    env = TMazeMultiCueEnv(cues=1, values=values, corridor_length=0)
    assert env.action_space.n == values + 2
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"action={values + 2}: must be from 0 to {values + 1}"):
        env.step(values + 2)
    answers = {play(env, seed).told[0][1] for seed in range(50 * values)}
    assert answers == set(range(values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cues", 0),
        ("cues", 33),
        ("cues", 2.0),
        ("cues", [1, 4]),
        ("values", 1),
        ("values", 33),
        ("values", True),
        ("corridor_length", -1),
        ("corridor_length", [-1, 3]),
        ("penalty", 0.1),
    ],
)
@pytest.mark.parametrize("env_class", [TMazeMultiCueEnv, TMazeMultiCueVectorEnv])
def test_wrong_value_is_refused_by_name_value_and_what_is_allowed(env_class, name, value):
    with pytest.raises(ValueError) as error:
        env_class(**{name: value})
    assert str(error.value).startswith(f"{name}={value!r}: must be ")


def test_options_of_other_mazes_are_refused():
    for option in ("corrections", "junctions"):
        with pytest.raises(ValueError, match=f"unknown option '{option}'"):
            TMazeMultiCueEnv(**{option: 1})


def test_text_shows_the_cue_then_the_question_and_its_arm():
    env = TMazeMultiCueEnv(cues=2, corridor_length=1, render_mode="ansi")
    episode = play(env, 0)
    env.reset(seed=0)
    for step, (index, value) in enumerate(episode.told):
        words, *_, up, corridor, down, _ = env.render().splitlines()
        assert words == f"step {step}/4  x 0/1  cue {index}: {'down' if value else 'up'}"
        assert (up, corridor, down) == ("##-#", "#A.#", "##-#")
        env.step(RIGHT)
    assert env.render().splitlines()[0] == "step 2/4  x 0/1  no cue"
    env.step(RIGHT)
    words, *_, up, corridor, down, _ = env.render().splitlines()
    right = dict(episode.told)[episode.asked[0]]
    assert words == f"step 3/4  x 1/1  cue {episode.asked[0]}?"
    assert corridor == "#.A#"
    assert (up, down) == (("##-#", "##+#") if right else ("##+#", "##-#"))


def test_agent_stands_in_the_arm_of_its_last_answer():
    env = TMazeMultiCueEnv(cues=1, values=5, corridor_length=0, render_mode="ansi")
    heights = []
    for value in range(5):
        env.reset(seed=0)
        env.step(RIGHT), env.step(action_of(value))
        lines = env.render().splitlines()[1:]
        assert len(lines) == 8
        heights.append(next(i for i, line in enumerate(lines) if "A" in line))
    assert heights == [3, 5, 2, 6, 1]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pictures_have_one_size_and_light_the_lamps_of_what_is_told(options):
    env = TMazeMultiCueEnv(render_mode="rgb_array", **options)
    shapes, cues = set(), env.task.cues
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        ended = False
        while not ended:
            picture = env.render()
            shapes.add(picture.shape)
            lit = (picture[-72:-24] == [255, 214, 90]).all(-1).reshape(2, 24, -1).any(1)
            lamps = [int(np.diff(row.astype(int), prepend=0).clip(min=0).sum()) for row in lit]
            assert lamps == [int(observation[:cues].sum()), int(observation[cues:-2].sum())]
            observation, _, ended, _, _ = env.step(RIGHT)
    assert len(shapes) == 1
