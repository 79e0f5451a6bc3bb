"""Runes change what the hint said: each by its rule, alone and after others."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

from rllib_elmur.envs import TMazePassiveEnv, TMazeRuneEnv
from rllib_elmur.envs.hidden_cue import RUNES, HiddenCue
from rllib_elmur.proof.description import finite_task_of

RIGHT, UP, _, DOWN = range(4)
ALL = "+".join(RUNES)
COMPOSITIONS = ["invert", "invert+cancel", "invert+reset", "invert+repeat", ALL]


def cue_after(hint, runes):
    """The rules in other words: an update is a function that can be done again and taken back."""
    does = {"invert": lambda cue: -cue, "reset": lambda cue: hint}
    cue, before, update = hint, None, None
    for rune in runes:
        if rune == "cancel":
            cue, update = (before, None) if update else (cue, update)
        else:
            update = does.get(rune, update)
            if update:
                before, cue = cue, update(cue)
    return cue


def walk(env, seed, turn=cue_after):
    """An episode that turns as `turn` says of hint and runes; these, times, and the last info."""
    observation, _ = env.reset(seed=seed)
    hint, runes, times, ended, time = int(observation[1]), [], [], False, 0
    while not ended:
        if observation[2:-2].any():
            runes.append(RUNES[observation[2:-2].argmax()])
            times.append(time)
        action = RIGHT
        if observation[-2]:
            action = UP if turn(hint, runes) > 0 else DOWN
        observation, _, ended, _, info = env.step(action)
        time += 1
    return runes, times, info


@pytest.mark.parametrize(
    ("runes", "cue"),
    [
        ("", 1),
        ("invert", -1),
        ("invert invert", 1),
        ("invert cancel", 1),
        ("invert invert cancel", -1),
        ("invert cancel cancel", 1),
        ("cancel", 1),
        ("invert invert invert reset", 1),
        ("invert reset cancel", -1),
        ("invert repeat", 1),
        ("invert repeat repeat", -1),
        ("repeat", 1),
        ("invert cancel repeat", 1),
        ("invert repeat cancel", -1),
        ("invert reset repeat cancel", 1),
    ],
)
def test_each_rune_does_what_its_rule_says(runes, cue):
    found = HiddenCue.of_hint(1)
    for rune in runes.split():
        found = found.after(RUNES.index(rune))
    assert found.value == cue == cue_after(1, runes.split())


@given(hint=st.sampled_from([-1, 1]), runes=st.lists(st.sampled_from(RUNES), max_size=12))
def test_any_sequence_of_runes_makes_of_the_hint_what_the_rules_in_other_words_make(hint, runes):
    found = HiddenCue.of_hint(hint)
    for rune in runes:
        found = found.after(RUNES.index(rune))
    assert found.value == cue_after(hint, runes)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_whoever_follows_the_runes_turns_right(composition):
    env = TMazeRuneEnv(corridor_length=12, composition=composition, runes=5, hint_steps=2)
    kinds, counts, when = set(), set(), set()
    for seed in range(150):
        runes, times, info = walk(env, seed)
        assert info["success"]
        kinds |= set(runes)
        counts.add(len(runes))
        when |= set(times)
    assert kinds == set(composition.split("+"))
    assert counts == set(range(6)) and when == set(range(2, 12))


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_whoever_heeds_the_hint_alone_fails_often(composition):
    env = TMazeRuneEnv(corridor_length=30, composition=composition, runes=8)
    success = [walk(env, seed, lambda hint, runes: hint)[2]["success"] for seed in range(200)]
    assert 0.3 < np.mean(success) < 0.8


def test_without_runes_the_episodes_are_those_of_the_passive_maze():
    runes, passive = (
        TMazeRuneEnv(corridor_length=[2, 9], runes=0),
        TMazePassiveEnv(corridor_length=[2, 9]),
    )
    for seed in range(20):
        one, other = runes.reset(seed=seed), passive.reset(seed=seed)
        np.testing.assert_array_equal(one[0][[0, 1, -2, -1]], other[0])
        assert one[1] == other[1]


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_scalar_and_vector_form_agree(composition):
    options = {"corridor_length": [2, 7], "slack": 1.5, "composition": composition}
    name = "rllib_elmur/TMazeRune-v0"
    check_env(gymnasium.make(name, **options).unwrapped, skip_render_check=True)
    vector = gymnasium.make_vec(
        name, num_envs=4, vectorization_mode="vector_entry_point", **options
    )
    scalar = SyncVectorEnv([lambda: gymnasium.make(name, **options)] * 4)
    generator = np.random.default_rng(0)
    observation, other = vector.reset(seed=5)[0], scalar.reset(seed=5)[0]
    for _ in range(200):
        np.testing.assert_array_equal(observation, other)
        action = np.where(observation[:, -2] > 0, generator.choice([UP, DOWN], 4), RIGHT)
        action = np.where(generator.random(4) < 0.1, DOWN, action)
        (observation, *outcome, _), (other, *expected, _) = vector.step(action), scalar.step(action)
        for found, wanted in zip(outcome, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("hint_steps", [1, 2])
def test_the_description_is_true_to_the_maze(composition, hint_steps):
    env = TMazeRuneEnv(composition=composition, corridor_length=[1, 9], hint_steps=hint_steps)
    task = finite_task_of(env)
    # Two for each cue; twice as many where a second thing must be known: the hint, or the last
    # update; and what was seen at the start.
    situations = {"invert": 2, ALL: 12}.get(composition, 4) + 1 + 2 * (hint_steps - 1)
    assert task.source.max() + 1 == situations


def test_text_and_picture_show_the_rune_that_is_seen():
    env = TMazeRuneEnv(corridor_length=8, composition=ALL, runes=12, render_mode="ansi")
    pictures = TMazeRuneEnv(corridor_length=8, composition=ALL, runes=12, render_mode="rgb_array")
    observation, _ = env.reset(seed=3)
    pictures.reset(seed=3)
    told = []
    for _ in range(8):
        rune = observation[2:-2]
        lit = (pictures.render() == np.array([255, 214, 90])).all(axis=-1)[-48:].any()
        assert lit == rune.any()
        if rune.any():
            told.append(RUNES[rune.argmax()])
            assert f"rune seen: {told[-1]}" in env.render()
        observation = env.step(RIGHT)[0]
        pictures.step(RIGHT)
    assert len(set(told)) > 1


@pytest.mark.parametrize(
    "composition", ["", "inverts", "invert,cancel", "invert+invert", "invert+", None, ["invert"]]
)
def test_a_wrong_composition_is_refused(composition):
    with pytest.raises(ValueError) as error:
        TMazeRuneEnv(composition=composition)
    message = str(error.value)
    assert message.startswith(f"composition={composition!r}: must be one or more of invert, cancel")


def test_a_wrong_number_of_runes_is_refused():
    with pytest.raises(ValueError, match="runes=-1: must be an integer from 0"):
        TMazeRuneEnv(runes=-1)
