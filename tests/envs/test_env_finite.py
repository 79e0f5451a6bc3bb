"""The finite description of a maze says what its episodes are, and its scripts play them."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rllib_elmur  # noqa: F401 (registers the ids)
from rllib_elmur.envs import END

PASSIVE, ENDLESS = "rllib_elmur/TMazePassive-v0", "rllib_elmur/TMazeEndless-v0"
MAZES = [
    (PASSIVE, {}),
    (PASSIVE, {"hint_steps": 3}),
    (PASSIVE, {"corrections": 2}),
    (PASSIVE, {"corrections": 3, "hint_steps": 2}),
    (ENDLESS, {"junctions": [1, 4]}),
    (ENDLESS, {"junctions": 3, "corrections": 1}),
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
        assert info["success"]

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
            assert info["success"]

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
