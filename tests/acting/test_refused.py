"""What a policy cannot act on is refused in one sentence, before it gets into the memory."""

from typing import Any

import numpy as np
import pytest
from acting_helpers import Logged
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from plugin_helpers import elmur_ppo

import rllib_elmur
from rllib_elmur.errors import UserError

PARTS = {"vector": Box(-1, 1, (2,)), "more": Tuple([Discrete(3, start=5)])}


@pytest.fixture
def policy(saved: Any) -> Any:
    config = elmur_ppo(Logged, {"observation": Dict(PARTS)}, previous_reward=True)
    return rllib_elmur.load_policy(saved(config)[0])


def seen(vector: Any = (0.5, 0.5), category: Any = 5) -> dict[str, Any]:
    return {"vector": np.asarray(vector, np.float32), "more": (np.asarray(category),)}


TWO = seen(np.ones((2, 2)), [5, 6])
WRONG = {
    "another shape": (seen((1, 2, 3)), r"observation\['vector'\] has shape \(3,\).*\(2,\), or"),
    "a part missing": ({"vector": np.ones(2)}, r"observation\['more'\] is missing"),
    "no Dict": (np.ones(2), r"observation\['more'\] is missing"),
    "other sizes": (seen(np.ones((2, 2)), [5, 6, 7]), r"\['more'\]\[0\]: 3, .*\['vector'\]: 2"),
    "not finite": (seen((np.nan, 1)), r"observation\['vector'\] contains nan \(row 0"),
    "no category": (seen(category=2), r"observation\['more'\]\[0\]=\[2\] lies outside"),
    "nobody": (seen(np.ones((0, 2)), np.ones(0, int)), "0 episodes"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_observations_of_another_space_are_refused_and_change_nothing(
    kind: str, policy: Any
) -> None:
    observation, sentence = WRONG[kind]
    expected = [policy.act(seen(), 0.0), policy.act(seen((0.1, 0.2)), 0.5)]
    policy.reset()
    actions = [policy.act(seen(), 0.0)]
    with pytest.raises(ValueError, match=sentence):
        policy.act(observation, 0.5)
    assert [*actions, policy.act(seen((0.1, 0.2)), 0.5)] == expected


def test_a_reward_that_is_read_must_be_given_but_for_the_first_step(policy: Any) -> None:
    policy.act(seen())
    with pytest.raises(ValueError, match="reads the reward of the step before"):
        policy.act(seen())
    with pytest.raises(ValueError, match=r"reward=.*observation's 2 episodes"):
        policy.reset()
        policy.act(TWO, [1.0, 2.0, 3.0])


def test_rows_must_be_told_apart(policy: Any) -> None:
    policy.act(TWO)
    with pytest.raises(ValueError, match="of 1 episodes, and this policy acts in 2"):
        policy.act(seen(), 0.0)
    for rows in ([0], [1, 1], [-1, 0]):
        with pytest.raises(ValueError, match="must be 2 different numbers from 0 on"):
            policy.act(TWO, [0.0, 0.0], rows=rows)
    policy.reset()
    policy.act(seen())


def test_a_path_without_a_checkpoint_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        rllib_elmur.load_policy(tmp_path / "nothing")
