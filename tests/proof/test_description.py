"""A finite description is made from an environment's episodes, and held against them."""

import gymnasium as gym
import numpy as np
import pytest

import rllib_elmur  # noqa: F401 (registers the ids)
from rllib_elmur.envs import END, TMazePassiveEnv, describe
from rllib_elmur.envs.rule import is_at_junction
from rllib_elmur.errors import UserError
from rllib_elmur.proof.description import finite_task_of


class Cue(gym.Env):
    """Shows -1 or 1 and asks for it now and then, 12 steps long. Answers are 0 and 1."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue, self.asked, self.time = int(self.np_random.choice([-1, 1])), 0, 0
        return np.array([self.cue, 0], np.float32), {}

    def step(self, action):
        reward = float(self.asked and action == (self.cue > 0))
        self.time, self.asked = self.time + 1, int(self.np_random.integers(2))
        return np.array([0, self.asked], np.float32), reward, self.time == 12, False, {}


def rows(task):
    """The edges of a task, as they can be compared."""
    return sorted(
        (int(source), tuple(seen), tuple(correct), int(target))
        for source, seen, correct, target in zip(
            task.source, task.observation.tolist(), task.correct.tolist(), task.target, strict=True
        )
    )


def changed(task, edge, **columns):
    """The task with other values in one of its edges."""
    for name, value in columns.items():
        column = getattr(task, name).copy()
        column[edge] = value
        task = task._replace(**{name: column})
    return task


def test_what_an_environment_shows_is_its_description():
    task = describe(Cue(), state=lambda env: env.cue)
    # The start, and either cue. A question has one answer; else both actions are correct.
    number = {-1: 1, 1: 2} if task.observation[0, 0] < 0 else {1: 1, -1: 2}
    expected = []
    for cue in (-1, 1):
        here, right = number[cue], (cue < 0, cue > 0)
        expected += [(0, (cue, 0.0), (True, True), here)]
        expected += [(here, (0, 0.0), (True, True), here), (here, (0, 1.0), right, here)]
    assert rows(task) == sorted(expected)


def test_with_all_its_attributes_an_environment_is_described_up_to_its_end():
    task = describe(Cue())
    # The cue, then for each of 11 times whether it asks: both have one time at which it ends.
    assert len(set(task.source.tolist())) == 1 + 2 + 10 * 4
    assert (task.target == END).sum() == 2 * 4 * 2 // 2
    assert finite_task_of(Cue(), lambda env: describe(env)).source.shape == task.source.shape


def test_what_keeps_a_description_from_being_finite_is_said():
    with pytest.raises(ValueError, match=r"more than 20 states, with 1\d values of .* 'time'"):
        describe(Cue(), max_situations=20)
    with pytest.raises(UserError, match=r"^Cue: Cue has more than 20 states.* give `state`"):
        finite_task_of(Cue(), lambda env: describe(env, max_situations=20))


def test_a_state_that_forgets_what_is_correct_is_said():
    with pytest.raises(ValueError, match=r"correct are \[\d\] in step \d+ of seed \d"):
        describe(Cue(), state=lambda env: env.asked)


def test_correct_actions_can_be_said_in_place_of_tried():
    by_reward = describe(Cue(), state=lambda env: env.cue)
    said = describe(
        Cue(),
        state=lambda env: env.cue,
        correct=lambda env: [int(env.cue > 0)] if env.asked else [0, 1],
    )
    assert rows(by_reward) == rows(said)


@pytest.mark.parametrize("space", [gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2, start=1)])
def test_only_actions_that_can_be_listed_are_described(space):
    env = Cue()
    env.action_space = space
    with pytest.raises(ValueError, match="must be Discrete and begin at 0"):
        describe(env)


def test_a_maze_that_is_explored_is_the_maze_that_is_described():
    env = TMazePassiveEnv(corridor_length=[1, 4])

    def hint(maze):
        return int(maze._episodes.state.cues.value[0, 0])

    def correct(maze):
        at_junction = is_at_junction(maze._episodes.state)[0]
        return [2 - hint(maze) if at_junction else 0]  # 1 up, 3 down

    explored, own = describe(env, hint, correct), env.finite_task()
    assert sorted(row[1:3] for row in rows(explored)) == sorted(row[1:3] for row in rows(own))


DESCRIBED = describe(Cue(), state=lambda env: env.cue)
QUESTION = int(np.flatnonzero(DESCRIBED.observation[:, 1])[0])


def held(task):
    return finite_task_of(Cue(), lambda env: task)


def test_a_true_description_is_taken():
    assert held(DESCRIBED) is DESCRIBED


def test_what_the_environment_shows_and_the_description_lacks_is_an_error_with_its_step():
    without = np.arange(len(DESCRIBED.source)) != QUESTION
    task = DESCRIBED._replace(
        **{
            name: getattr(DESCRIBED, name)[without]
            for name in ("source", "observation", "correct", "target")
        }
    )
    with pytest.raises(UserError, match=r"Cue lacks \[0., 1.\].* in step \d+ of the episode of"):
        held(task)


def test_what_the_description_has_and_the_environment_never_shows_is_an_error():
    other = changed(DESCRIBED, QUESTION, observation=[1.0, 1.0])
    task = DESCRIBED._replace(
        **{
            name: np.concatenate([getattr(DESCRIBED, name), getattr(other, name)[QUESTION][None]])
            for name in ("source", "observation", "correct", "target")
        }
    )
    with pytest.raises(UserError, match=r"lets \[1., 1.\] be seen .* did not show it in \d+ vis"):
        held(task)


def test_an_end_where_the_environment_goes_on_is_an_error():
    with pytest.raises(UserError, match=r"ends in step \d+ of .* the environment goes on"):
        held(changed(DESCRIBED, QUESTION, target=END))


def test_a_wrong_situation_is_an_error():
    other = int(DESCRIBED.target[DESCRIBED.observation[:, 0] == 0].max())
    start = np.flatnonzero(DESCRIBED.observation[:, 0])[0]
    task = changed(DESCRIBED, start, target=99)
    with pytest.raises(UserError, match=r"lacks .* in step 1 of the episode"):
        held(task)
    assert other != 99


def test_answers_that_what_was_seen_does_not_decide_are_an_error():
    cues = DESCRIBED.observation[:, 0] != 0
    observation = np.where(cues[:, None], [[1.0, 0.0]], DESCRIBED.observation)
    task = DESCRIBED._replace(observation=observation.astype(np.float32))

    class Hidden(Cue):
        def reset(self, **options):
            super().reset(**options)
            return np.array([1.0, 0.0], np.float32), {}

    with pytest.raises(UserError, match="does not say what is correct in step"):
        finite_task_of(Hidden(), lambda env: task)


def test_correct_actions_must_lead_to_success():
    env = TMazePassiveEnv(corridor_length=3)
    task = env.finite_task()
    swapped = task._replace(correct=task.correct[:, [0, 3, 2, 1]])
    with pytest.raises(UserError, match=r"calls actions correct that end without success"):
        finite_task_of(env, lambda _: swapped)


def test_an_edge_that_is_seldom_shown_is_asked_for_by_a_script():
    """Corridors of 3 steps and more never show the junction after one; a script does."""
    env = gym.make("rllib_elmur/TMazePassive-v0", corridor_length=[3, 5], hint_steps=2)
    assert len(finite_task_of(env).source)


def test_what_is_no_description_is_said():
    with pytest.raises(UserError, match=r"must be an `rllib_elmur.envs.FiniteTask`, not int"):
        finite_task_of(Cue(), lambda env: 3)
    with pytest.raises(UserError, match=r"Cue has no finite description: .* `finite_task`"):
        finite_task_of(Cue())
