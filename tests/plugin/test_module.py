"""The RLModule's own interface: states in and out, and what it says of wrong input."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import tree
from plugin_helpers import SMALL, RandomEnv, batched, elmur_ppo, play, shake, train_batch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

import rllib_elmur

FORWARDS = ["forward_train", "forward_inference", "forward_exploration"]


@pytest.fixture
def module() -> Any:
    module = RLModuleSpec(
        module_class=rllib_elmur.ELMURTorchRLModule,
        observation_space=gym.spaces.Box(-1, 1, (3,)),
        action_space=gym.spaces.Discrete(4),
        model_config=SMALL,
    ).build()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def initial(module: Any, batch_size: int) -> dict[str, torch.Tensor]:
    state = module.get_initial_state()
    return {key: value.expand(batch_size, *value.shape).clone() for key, value in state.items()}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("n_steps", [1, 2, 3, 13])
def test_any_number_of_steps_goes_from_state_in_to_state_out(
    module: Any, forward: str, n_steps: int
) -> None:
    observations = torch.randn(2, 20, 3)
    state = initial(module, 2)
    # Somewhere in the middle of an episode first.
    before = module.forward_train({Columns.OBS: observations[:, :7], Columns.STATE_IN: state})
    whole = module.forward_train(
        {Columns.OBS: observations[:, : 7 + n_steps], Columns.STATE_IN: state}
    )
    output = getattr(module, forward)(
        {
            Columns.OBS: observations[:, 7 : 7 + n_steps],
            Columns.STATE_IN: before[Columns.STATE_OUT],
        }
    )
    assert output[Columns.ACTION_DIST_INPUTS].shape == (2, n_steps, 4)
    torch.testing.assert_close(
        output[Columns.ACTION_DIST_INPUTS], whole[Columns.ACTION_DIST_INPUTS][:, 7:]
    )
    for key, value in whole[Columns.STATE_OUT].items():
        assert value.shape[0] == 2
        torch.testing.assert_close(output[Columns.STATE_OUT][key], value)


@pytest.mark.parametrize("forward", ["forward_inference", "forward_exploration"])
def test_steps_one_by_one_give_what_one_call_gives(module: Any, forward: str) -> None:
    observations = torch.randn(3, 25, 3)
    whole = module.forward_train({Columns.OBS: observations, Columns.STATE_IN: initial(module, 3)})
    state, logits = initial(module, 3), []
    for t in range(25):
        batch = {Columns.OBS: observations[:, t : t + 1], Columns.STATE_IN: state}
        output = getattr(module, forward)(batch)
        state = output[Columns.STATE_OUT]
        logits.append(output[Columns.ACTION_DIST_INPUTS])
    torch.testing.assert_close(torch.cat(logits, 1), whole[Columns.ACTION_DIST_INPUTS])


def test_the_initial_state_has_no_batch_axis_and_makes_the_module_stateful(module: Any) -> None:
    state = module.get_initial_state()
    n, m, d, length = 2, SMALL["memory_slots"], SMALL["d_model"], SMALL["segment_length"]
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes == {"memory": (n, m, d), "anchors": (n, m), "clock": (), "segment": (length, d)}
    assert module.is_stateful()


def test_narrowed_integers_in_a_state_are_taken(module: Any) -> None:
    observations = torch.randn(2, 5, 3)
    state = initial(module, 2)
    narrow = state | {key: state[key].int() for key in ("anchors", "clock")}
    outputs = [
        module.forward_train({Columns.OBS: observations, Columns.STATE_IN: s})
        for s in (state, narrow)
    ]
    for key, value in outputs[0][Columns.STATE_OUT].items():
        assert torch.equal(value, outputs[1][Columns.STATE_OUT][key])
        assert value.dtype == outputs[1][Columns.STATE_OUT][key].dtype


def test_integers_of_the_state_are_still_integers_at_the_learner() -> None:
    algo = elmur_ppo().build_algo()
    batch = train_batch(algo, algo.env_runner.sample(num_timesteps=30))
    for key in ("anchors", "clock"):
        assert not batch[Columns.STATE_IN][key].is_floating_point()
    algo.stop()


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("state", [None, {}, {"h": torch.zeros(1, 4), "c": torch.zeros(1, 4)}])
def test_a_missing_or_foreign_state_is_refused(
    module: Any, forward: str, state: dict[str, Any] | None
) -> None:
    batch = {Columns.OBS: torch.randn(1, 1, 3)} | (
        {} if state is None else {Columns.STATE_IN: state}
    )
    with pytest.raises(ValueError, match=r"state_in.*memory, anchors, clock, segment"):
        getattr(module, forward)(batch)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_is_refused(
    module: Any, forward: str, value: float
) -> None:
    observations = torch.randn(2, 4, 3)
    observations[1, 2, 0] = value
    with pytest.raises(ValueError, match=rf"observation contains {value} \(row 1"):
        getattr(module, forward)({Columns.OBS: observations, Columns.STATE_IN: initial(module, 2)})


def test_padding_that_is_not_data_is_not_read(module: Any) -> None:
    observations = torch.randn(2, 8, 3)
    batch = {Columns.OBS: observations, Columns.STATE_IN: initial(module, 2)}
    # Minibatches hold lengths as floats.
    batch[Columns.SEQ_LENS] = torch.tensor([8.0, 3.0])
    output = module.forward_train(batch)
    short = module.forward_train(
        {Columns.OBS: observations[1:, :3], Columns.STATE_IN: initial(module, 1)}
    )
    for key, value in short[Columns.STATE_OUT].items():
        torch.testing.assert_close(output[Columns.STATE_OUT][key][1:], value)


def reset_by_index(state: dict[str, torch.Tensor], start: dict[str, torch.Tensor]) -> None:
    for key, value in start.items():
        state[key][0] = value[0]


def clear_the_memory(state: dict[str, torch.Tensor], _: dict[str, torch.Tensor]) -> None:
    state["memory"].mul_(0.0)


def reset_by_index_copy(state: dict[str, torch.Tensor], start: dict[str, torch.Tensor]) -> None:
    for key, value in start.items():
        state[key].index_copy_(0, torch.tensor([1]), value[:1])


@pytest.mark.parametrize("change", [reset_by_index, clear_the_memory, reset_by_index_copy])
@pytest.mark.parametrize("forward", ["forward_inference", "forward_exploration"])
def test_a_state_that_was_changed_in_place_is_what_is_acted_from(
    module: Any, forward: str, change: Any
) -> None:
    observations, state = torch.randn(2, 12, 3), initial(module, 2)
    act = getattr(module, forward)
    for t in range(11):
        batch = {Columns.OBS: observations[:, t : t + 1], Columns.STATE_IN: state}
        state = act(batch)[Columns.STATE_OUT]
    unchanged = {key: value.clone() for key, value in state.items()}
    change(state, initial(module, 2))
    changed = {key: value.clone() for key, value in state.items()}
    now = {Columns.OBS: observations[:, 11:]}
    output = act(now | {Columns.STATE_IN: state})
    expected = module.forward_train(now | {Columns.STATE_IN: changed})
    for found, wanted in zip(
        tree.flatten(output), tree.flatten({key: expected[key] for key in output}), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    other = module.forward_train(now | {Columns.STATE_IN: unchanged})
    difference = other[Columns.ACTION_DIST_INPUTS] - output[Columns.ACTION_DIST_INPUTS]
    assert difference.abs().max() > 1e-2


def test_a_live_batch_takes_one_observation_at_a_time(module: Any) -> None:
    live, observations = module.get_live_batch(2), torch.randn(2, 12, 3)
    whole = module.forward_train({Columns.OBS: observations, Columns.STATE_IN: initial(module, 2)})
    for t in range(12):
        output = module.forward_inference(
            {Columns.OBS: observations[:, t : t + 1], "live_batch": live}
        )
        assert Columns.STATE_OUT not in output
        torch.testing.assert_close(
            output[Columns.ACTION_DIST_INPUTS], whole[Columns.ACTION_DIST_INPUTS][:, t : t + 1]
        )
    with pytest.raises(ValueError, match="12 time steps: a live batch takes one at a time"):
        module.forward_inference({Columns.OBS: observations, "live_batch": live})


def test_weights_of_other_sizes_are_refused(module: Any) -> None:
    other = RLModuleSpec(
        module_class=rllib_elmur.ELMURTorchRLModule,
        observation_space=gym.spaces.Box(-1, 1, (3,)),
        action_space=gym.spaces.Discrete(4),
        model_config=SMALL | {"n_layers": 3},
    ).build()
    with pytest.raises(ValueError, match="do not belong to an ELMUR module with these options"):
        module.set_state(other.get_state())


def test_acting_in_a_gymnasium_loop_is_what_the_env_runner_does() -> None:
    algo = elmur_ppo(RandomEnv, {"lengths": [12]}).build_algo()
    shake(algo)
    module = algo.env_runner.module
    episode, *_ = algo.env_runner.sample(num_episodes=1, explore=False)
    state = initial(module, 1)
    for t in range(len(episode)):
        observation = batched(episode.get_observations(t))
        output = module.forward_inference({Columns.OBS: observation, Columns.STATE_IN: state})
        state = output[Columns.STATE_OUT]
        assert output[Columns.ACTION_DIST_INPUTS].argmax() == episode.get_actions(t)
    assert len(play(module, RandomEnv({"lengths": [12]}), 30)) == 30
    algo.stop()
