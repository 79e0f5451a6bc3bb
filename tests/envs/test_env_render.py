"""Text and pictures of a maze."""

from itertools import pairwise

import numpy as np
import pytest

from rllib_elmur.envs import TMazePassiveEnv, TMazePassiveVectorEnv


def started(mode, seed=0, **options):
    env = TMazePassiveEnv(render_mode=mode, **options)
    observation, _ = env.reset(seed=seed)
    return env, observation


@pytest.mark.parametrize("seed", range(5))
def test_text_shows_walls_agent_hint_and_the_right_arm(seed):
    env, observation = started("ansi", seed, corridor_length=3)
    up = observation[1] > 0
    lines = env.render().splitlines()
    assert lines[0] == f"step 0/4  x 0/3  hint seen: {'up' if up else 'down'}"
    assert lines[2:5] == [f"####{'+' if up else '-'}#", "#A...#", f"####{'-' if up else '+'}#"]


def test_text_shows_the_agent_in_the_arm_it_turned_into():
    env, _ = started("ansi", corridor_length=2)
    for action in (0, 0, 1):
        env.step(action)
    assert env.render().splitlines()[2:4] == ["###A#", "#...#"]


def test_window_follows_the_agent_through_a_long_corridor():
    env, _ = started("ansi", corridor_length=500)
    widths = set()
    for step in range(500):
        lines = env.render().splitlines()
        assert sum(line.count("A") for line in lines) == 1
        assert lines[0].startswith(f"step {step}/501  x {step}/500 ")
        widths.add(len(lines[3]))
        env.step(0)
    assert widths == {34}
    assert env.render().splitlines()[3].endswith("A#")


def test_picture_has_one_size_whatever_the_corridor_drawn():
    env, _ = started("rgb_array", corridor_length=[2, 12])
    shapes = set()
    for _ in range(10):
        picture = env.render()
        assert picture.dtype == np.uint8
        shapes.add(picture.shape)
        env.reset()
    assert len(shapes) == 1


def test_picture_changes_with_each_step_and_shows_the_hint_only_while_it_is_seen():
    env, _ = started("rgb_array", corridor_length=10_000)
    yellow = np.array([255, 214, 90])
    pictures = [env.render()]
    for _ in range(60):
        env.step(0)
        pictures.append(env.render())
    seen = [(picture == yellow).all(axis=-1).any() for picture in pictures]
    assert seen == [True] + [False] * 60
    assert all((a != b).any() for a, b in pairwise(pictures))


def test_arrow_of_the_hint_points_its_way():
    for seed in range(4):
        env, observation = started("rgb_array", seed, corridor_length=5)
        arrow = (env.render() == np.array([255, 214, 90])).all(axis=-1)
        widths = arrow.sum(axis=1)[arrow.any(axis=1)]
        assert (widths[0] < widths[-1]) == (observation[1] > 0)


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_vector_form_draws_what_the_scalar_form_draws(mode):
    envs = TMazePassiveVectorEnv(num_envs=3, render_mode=mode, corridor_length=[2, 9])
    envs.reset(seed=4)
    for row, picture in enumerate(envs.render()):
        alone, _ = started(mode, 4 + row, corridor_length=[2, 9])
        assert np.array_equal(alone.render(), picture)


def test_without_a_render_mode_nothing_is_drawn():
    assert started(None)[0].render() is None
    assert TMazePassiveVectorEnv(num_envs=2).render() is None
