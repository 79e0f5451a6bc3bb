"""The finite description of a maze says what its episodes are, and its scripts play them."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rllib_elmur  # noqa: F401 (registers the ids)
from rllib_elmur.envs import END

PASSIVE, ENDLESS = "rllib_elmur/TMazePassive-v0", "rllib_elmur/TMazeEndless-v0"
MULTI_CUE, RUNE = "rllib_elmur/TMazeMultiCue-v0", "rllib_elmur/TMazeRune-v0"
MAZES = [
    (PASSIVE, {}),
    (PASSIVE, {"hint_steps": 3}),
    (PASSIVE, {"corrections": 2}),
    (PASSIVE, {"corrections": 3, "hint_steps": 2}),
    (ENDLESS, {"junctions": [1, 4]}),
    (ENDLESS, {"junctions": 3, "corrections": 1}),
    (MULTI_CUE, {"cues": 2}),
    (MULTI_CUE, {"cues": 2, "values": 3}),
    (MULTI_CUE, {"cues": 2, "hint_steps": 2}),
    (RUNE, {"runes": 3, "hint_steps": 2}),
    (RUNE, {"composition": "invert+cancel", "runes": 12}),
]
seeds = st.integers(0, 2**31)


def made(maze, **options):
    name, given = maze
    return gymnasium.make(name, **given, **options)


@pytest.mark.parametrize("maze", MAZES, ids=str)
def test_whoever_does_what_is_correct_in_the_automaton_succeeds_in_the_maze(maze):
    env = made(maze, corridor_length=[1, 7])
    task = env.unwrapped.finite_task()

    @settings(max_examples=60, deadline=None)
    @given(seed=seeds)
    def holds(seed):
        observation, _ = env.reset(seed=seed)
        situations, ended = set(task.start), False
        while not ended:
            edges = [
                edge
                for edge in range(len(task.source))
                if task.source[edge] in situations and (task.observation[edge] == observation).all()
            ]
            answers = {tuple(task.correct[edge]) for edge in edges}
            assert len(answers) == 1, "what is seen and was seen decides what is correct"
            situations = set(task.target[edges])
            observation, _, ended, _, info = env.step(int(np.argmax(answers.pop())))
        assert info["success"] == 1

    holds()


@pytest.mark.parametrize("maze", MAZES, ids=str)
def test_a_script_shows_any_path_of_the_automaton(maze):
    env = made(maze)
    task = env.unwrapped.finite_task()

    @settings(max_examples=60, deadline=None)
    @given(seed=seeds, steps=st.integers(1, 40))
    def holds(seed, steps):
        generator = np.random.default_rng(seed)
        situation, path = generator.choice(task.start), []
        while situation != END and len(path) < steps:
            path.append(generator.choice(np.flatnonzero(task.source == situation)))
            situation = task.target[path[-1]]
        script = task.observation[path]
        observation, _ = env.reset(seed=seed, options={"script": script})
        for place, edge in enumerate(path):
            np.testing.assert_array_equal(observation, script[place])
            observation, _, ended, _, info = env.step(int(task.correct[edge].argmax()))
            assert not ended or place + 1 == len(path)
        if ended:
            assert info["success"] == 1

    holds()


@pytest.mark.parametrize("maze", MAZES, ids=str)
def test_every_edge_that_the_automaton_has_is_seen_in_the_maze(maze):
    env = made(maze, corridor_length=[1, 9])
    task = env.unwrapped.finite_task()
    seen = {situation: set() for situation in range(task.source.max() + 1)}
    for seed in range(400):
        observation, _ = env.reset(seed=seed)
        situation, ended = 0, False
        while not ended:
            here = np.flatnonzero(task.source == situation)
            (edge,) = here[(task.observation[here] == observation).all(1)]
            seen[situation].add(int(edge))
            situation = task.target[edge]
            observation, _, ended, _, _ = env.step(int(task.correct[edge].argmax()))
    assert sum(map(len, seen.values())) == len(task.source)


def test_without_corridors_the_automaton_has_questions_only():
    task = made((MULTI_CUE, {"cues": 3}), corridor_length=0).unwrapped.finite_task()
    cue, value, flag = (task.observation[:, part] for part in (slice(3), slice(3, 5), 5))
    assert (cue.sum(1) == 1).all() and (value.any(1) != flag).all()
    # 0, 1 or 2 of three cues told; some of them still to be asked for: each is unknown, up or down.
    assert task.source.max() + 1 == (3**3 - 2**3) + (3**3 - 1)


def test_a_corridor_of_the_automaton_is_as_long_as_the_shortest_that_can_be_drawn():
    task = made((MULTI_CUE, {"cues": 1}), corridor_length=[3, 5]).unwrapped.finite_task()
    here, walked = 1, 0
    while not task.observation[task.source == here, -2].any():
        (here,) = set(task.target[task.source == here])
        walked += 1
    assert walked == 3


def test_more_situations_than_can_be_listed_are_refused_with_what_to_change():
    env = made((MULTI_CUE, {"cues": 12}))
    with pytest.raises(ValueError, match=r"cues=12, values=2: .* choose fewer cues or values"):
        env.unwrapped.finite_task()
