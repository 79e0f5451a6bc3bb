"""Rounding of what is written, and its gradient."""

import pytest
import torch
from model_cases import build, deviation, run, tokens
from reference import grid

from rllib_elmur.model.memory import Rounding


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 6, 7, 126, 127])
def test_rounding_takes_each_value_to_the_nearest_of_so_many_on_the_grid(levels):
    values = torch.tensor(grid(levels), dtype=torch.float64)
    assert len(values) == levels
    x = torch.linspace(-1.3 * values[-1] - 1, 1.3 * values[-1] + 1, 4001, dtype=torch.float64)
    rounded = Rounding(levels)(x)
    assert set(rounded.unique().tolist()) == set(values.tolist())
    assert torch.equal((rounded - x).abs(), (values - x[:, None]).abs().min(dim=1).values)
    assert values.abs().max() <= 127  # fits int8


def test_two_levels_are_signs():
    x = torch.tensor([-3.0, -1.0, -0.01, 0.01, 0.7, 5.0])
    assert torch.equal(Rounding(2)(x), x.sign())


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_the_gradient_goes_straight_through_the_rounding_inside_the_grid(levels):
    high = max(grid(levels))
    x = torch.tensor([-high - 2.0, -0.9 * high, -0.2, 0.3, 0.9 * high, high + 2.0])
    x.requires_grad_()
    weight = torch.arange(1.0, 7.0)
    (Rounding(levels)(x) * weight).sum().backward()
    assert torch.equal(x.grad, weight * (x.detach().abs() <= high))


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_commitment_adds_the_gradient_of_the_distance_to_the_grid(levels):
    x = torch.linspace(-6, 6, 50, dtype=torch.float64).view(5, 10).requires_grad_()
    weight = torch.linspace(-1, 1, 10, dtype=torch.float64)
    (Rounding(levels, commitment=0.3)(x) * weight).sum().backward()
    combined, x.grad = x.grad, None
    distance = (x - Rounding(levels)(x).detach()).square().mean()
    ((Rounding(levels)(x) * weight).sum() + 0.3 * distance).backward()
    assert deviation(combined, x.grad) < 1e-12


@pytest.mark.parametrize("schedule", ["sequence", "step"])
@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_a_written_slot_holds_values_of_the_grid_only(schedule, levels):
    model = build(n_layers=2, memory_slots=3, segment_length=2, memory_levels=levels)
    _, state = run(schedule, model, 3 * tokens(model, 4, 31), model.initial_state(4))
    assert (state.anchors >= 0).all()
    assert set(state.memory.unique().tolist()) <= set(grid(levels))
    assert len(state.memory.unique()) > 1


@pytest.mark.parametrize("schedule", ["sequence", "step"])
def test_the_initial_memory_is_not_rounded(schedule):
    model = build(n_layers=2, memory_slots=2, segment_length=4, memory_levels=3)
    x, state = tokens(model, 2, 3), model.initial_state(2)
    before, _ = run(schedule, model, x, state)
    with torch.no_grad():
        for layer in model.layers:
            off_grid = (layer.initial_memory - layer.initial_memory.round()).abs()
            assert off_grid.max() > 0.1
            layer.initial_memory.copy_(layer.initial_memory.round())
    after, _ = run(schedule, model, x, state)
    assert deviation(before, after) > 1e-3
