"""The scalar and the vector environment as Gymnasium sees them."""

import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_elmur.envs import ENVIRONMENTS

every_id = pytest.mark.parametrize("env_id", ENVIRONMENTS)


def random_actions(rng, num_envs):
    return rng.choice(4, size=num_envs, p=[0.85, 0.05, 0.05, 0.05])


def assert_equal_infos(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key])
        assert left[key].dtype == right[key].dtype


def assert_equal_steps(left, right):
    for one, other in zip(left[:-1], right[:-1], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert_equal_infos(left[-1], right[-1])


@every_id
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasium_env_checker_has_nothing_to_say(env_id, render_mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(env_id, corridor_length=[3, 6], render_mode=render_mode)
        check_env(env.unwrapped)


@every_id
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    num_envs=st.integers(1, 7),
    options=st.fixed_dictionaries(
        {},
        optional={
            "corridor_length": st.sampled_from([1, 4, [1, 9], [3, 30]]),
            "hint_steps": st.integers(1, 4),
            "penalty_rule": st.sampled_from(["behind_schedule", "standing_still"]),
            "slack": st.sampled_from([1.0, 1.3, 2.0]),
            "penalty": st.sampled_from([None, -0.1]),
        },
    ),
)
def test_vector_form_equals_scalar_forms_side_by_side(env_id, seed, num_envs, options):
    scalar, vector = ENVIRONMENTS[env_id]
    side_by_side = SyncVectorEnv([lambda: scalar(**options)] * num_envs)
    native = vector(num_envs=num_envs, **options)
    rng = np.random.default_rng(seed)
    for first in (seed, None):
        one, other = side_by_side.reset(seed=first), native.reset(seed=first)
        np.testing.assert_array_equal(one[0], other[0])
        assert_equal_infos(one[1], other[1])
        finished, step = 0, 0
        while step < 80 or not finished:
            actions = random_actions(rng, num_envs)
            one, other = side_by_side.step(actions), native.step(actions)
            assert_equal_steps(one, other)
            finished, step = finished + int(other[2].sum()), step + 1
            assert step < 400


@every_id
def test_reset_of_some_environments_leaves_the_others_where_they_are(env_id):
    scalar, vector = ENVIRONMENTS[env_id]
    side_by_side, native = SyncVectorEnv([scalar] * 4), vector(num_envs=4)
    rng = np.random.default_rng(0)
    side_by_side.reset(seed=[5, 9, 2, 7]), native.reset(seed=[5, 9, 2, 7])
    for step in range(60):
        actions = random_actions(rng, 4)
        assert_equal_steps(side_by_side.step(actions), native.step(actions))
        if step % 7 == 0:
            mask = np.array([True, False, step % 2 == 0, False])
            seed = [3, None, None, 1]
            one = side_by_side.reset(seed=seed, options={"reset_mask": mask})
            other = native.reset(seed=seed, options={"reset_mask": mask})
            np.testing.assert_array_equal(one[0], other[0])
            assert_equal_infos(one[1], other[1])


@every_id
def test_same_seed_gives_the_same_episodes_and_no_seed_gives_others(env_id):
    def lengths(seed):
        env = gymnasium.make(env_id, corridor_length=[1, 10**9])
        return [env.reset(seed=seed)[1], env.reset()[1], env.reset()[1]]

    assert lengths(3) == lengths(3)
    assert lengths(3) != lengths(4)
    assert lengths(None) != lengths(None)


@every_id
def test_what_a_step_returned_is_never_changed_by_a_later_step(env_id):
    envs = ENVIRONMENTS[env_id].vector(num_envs=5, corridor_length=2)
    envs.reset(seed=0)
    returned, copies = [], []
    for _ in range(12):
        observation, reward, terminated, truncated, info = envs.step(np.zeros(5, dtype=np.int64))
        returned.append([observation, reward, terminated, truncated, *info.values()])
        copies.append([array.copy() for array in returned[-1]])
    for now, then in zip(returned, copies, strict=True):
        for one, other in zip(now, then, strict=True):
            np.testing.assert_array_equal(one, other)


@every_id
def test_writing_into_what_a_step_returned_changes_no_later_step(env_id):
    clean, written = (ENVIRONMENTS[env_id].vector(num_envs=5, corridor_length=2) for _ in "ab")
    clean.reset(seed=0), written.reset(seed=0)
    actions = np.zeros(5, dtype=np.int64)
    for _ in range(12):
        returned = written.step(actions)
        assert_equal_steps(clean.step(actions), returned)
        for array in [*returned[:-1], *returned[-1].values()]:
            array[:] = 0


@every_id
def test_pickled_environment_goes_on_as_if_nothing_had_happened(env_id):
    env = ENVIRONMENTS[env_id].scalar()
    env.reset(seed=1)
    env.step(0)
    copy = pickle.loads(pickle.dumps(env))
    for _ in range(5):
        np.testing.assert_array_equal(env.step(0)[0], copy.step(0)[0])


@every_id
def test_make_vec_gives_the_native_vector_form_with_next_step_autoreset(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = gymnasium.make_vec(env_id, num_envs=3)
    assert type(envs) is ENVIRONMENTS[env_id].vector
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.spec.max_episode_steps is None
    observation, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observation)


@every_id
def test_step_without_a_running_episode_asks_for_a_reset(env_id):
    scalar, vector = ENVIRONMENTS[env_id]
    for env, action in [(scalar(), 0), (vector(num_envs=2), np.zeros(2, dtype=int))]:
        with pytest.raises(ResetNeeded):
            env.step(action)
    env = scalar(corridor_length=1)
    env.reset(seed=0)
    while not env.step(1)[2]:
        pass
    with pytest.raises(ResetNeeded):
        env.step(0)


@every_id
@pytest.mark.parametrize("action", [4, -1, 1.0, True, None, [0]])
def test_illegal_action_is_refused_with_its_value(env_id, action):
    env = ENVIRONMENTS[env_id].scalar()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action=.*0 to 3"):
        env.step(action)


@every_id
def test_illegal_action_is_refused_except_where_it_is_ignored(env_id):
    envs = ENVIRONMENTS[env_id].vector(num_envs=2, corridor_length=1)
    envs.reset(seed=0)
    for wrong in ([0, 4], [0, -1], [0], [[0, 0]], [0.0, 1.0]):
        with pytest.raises(ValueError, match=r"action=.*0 to 3"):
            envs.step(np.array(wrong))
    while not (ended := envs.step(np.array([0, 0]))[2]).any():
        pass
    assert ended.all()
    envs.step(np.array([9, -99]))
