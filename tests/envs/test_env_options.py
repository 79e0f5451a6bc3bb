"""Bad options are refused before anything runs, by field, value and what is allowed."""

import gymnasium
import numpy as np
import pytest

from rllib_elmur.envs import ENVIRONMENTS, TMazePassiveEnv, TMazePassiveVectorEnv

WRONG = [
    ("corridor_length", 0),
    ("corridor_length", -3),
    ("corridor_length", 2.5),
    ("corridor_length", True),
    ("corridor_length", "10"),
    ("corridor_length", None),
    ("corridor_length", 2**31),
    ("corridor_length", [5, 3]),
    ("corridor_length", [0, 3]),
    ("corridor_length", [1, 2, 3]),
    ("corridor_length", []),
    ("corridor_length", [1, 2.0]),
    ("corridor_length", [[1, 2], [3, 4]]),
    ("hint_steps", 0),
    ("hint_steps", 1.0),
    ("hint_steps", False),
    ("goal_reward", 0),
    ("goal_reward", float("inf")),
    ("goal_reward", "1"),
    ("penalty", 0.1),
    ("penalty", float("nan")),
    ("penalty", True),
    ("penalty_rule", "never"),
    ("penalty_rule", None),
    ("slack", 0.9),
    ("slack", float("inf")),
    ("slack", None),
    ("render_mode", "human"),
]


@pytest.mark.parametrize("env_class", [TMazePassiveEnv, TMazePassiveVectorEnv])
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_value_is_refused_by_name_value_and_what_is_allowed(env_class, name, value):
    with pytest.raises(ValueError) as error:
        env_class(**{name: value})
    message = str(error.value)
    assert message.startswith(f"{name}={value!r}: must be ")


@pytest.mark.parametrize("env_class", [TMazePassiveEnv, TMazePassiveVectorEnv])
def test_unknown_option_is_refused_with_the_nearest_known_one(env_class):
    with pytest.raises(ValueError, match=r"'coridor_length'.*did you mean 'corridor_length'"):
        env_class(coridor_length=3)
    with pytest.raises(ValueError, match=r"'zzz': Allowed are corrections, .*slack"):
        env_class(zzz=3)


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, True, "2"])
def test_wrong_number_of_environments_is_refused(num_envs):
    with pytest.raises(ValueError, match="num_envs="):
        TMazePassiveVectorEnv(num_envs=num_envs)


def test_wrong_seeds_and_masks_are_refused():
    envs = TMazePassiveVectorEnv(num_envs=2)
    for seed in ([1], [1, -1]):
        with pytest.raises(ValueError, match="seed="):
            envs.reset(seed=seed)
    for mask in (np.array([False, False]), np.array([1, 0]), np.array([True])):
        with pytest.raises(ValueError, match="reset_mask="):
            envs.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("length", [7, np.int64(7), [7, 7], (7, 7), np.array([7, 7])])
def test_corridor_length_may_be_any_integer_or_pair_of_integers(length):
    assert TMazePassiveEnv(corridor_length=length).reset(seed=0)[1]["corridor_length"] == 7


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_options_can_be_read_and_setting_one_is_an_error(env_id):
    scalar, vector = (cls(corridor_length=7) for cls in ENVIRONMENTS[env_id])
    for env in (scalar, vector):
        assert env.corridor_length == 7 and env.slack == 1.0
        with pytest.raises(AttributeError, match=r"corridor_length=9 cannot be set.*Curriculum"):
            env.corridor_length = 9
    wrapped = gymnasium.make(env_id, corridor_length=7)
    with pytest.raises(AttributeError, match="cannot be set"):
        wrapped.set_wrapper_attr("corridor_length", 9)
    assert wrapped.get_wrapper_attr("corridor_length") == 7
