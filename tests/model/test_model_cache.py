"""What the step schedule keeps is derived: it may be lost, and goes when the weights change."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_cases import (
    build,
    deviation,
    examples,
    run_steps,
    seeds,
    shake,
    sizes,
    state_at,
    state_deviation,
    tokens,
)


@examples(25)
@given(
    options=sizes,
    seed=seeds,
    clocks=st.lists(st.integers(0, 100), min_size=1, max_size=3),
    n_tokens=st.integers(1, 25),
)
def test_a_cache_rebuilt_at_each_step_equals_the_kept_one(options, seed, clocks, n_tokens):
    model = build(seed, memory_levels=5, **options)
    x, state = tokens(model, len(clocks), n_tokens, seed=seed), state_at(model, clocks, seed)
    kept, kept_state, _ = run_steps(model, x, state)
    rebuilt, rebuilt_state, _ = run_steps(model, x, state, keep_cache=False)
    assert deviation(kept, rebuilt) < 1e-9
    assert state_deviation(kept_state, rebuilt_state) < 1e-9


def test_a_kept_cache_is_used_and_not_rebuilt():
    model = build(n_layers=2, memory_slots=2, segment_length=5)
    _, state, cache = run_steps(model, tokens(model, 2, 8), state_at(model, [0, 3]))
    spoiled = cache._replace(values=cache.values + 1.0)
    x = tokens(model, 2, seed=1)
    fresh = model.step(x, state, None)[0]
    assert deviation(model.step(x, state, cache)[0], fresh) < 1e-9
    assert deviation(model.step(x, state, spoiled)[0], fresh) > 1e-3


def optimizer_step(optimizer):
    def change(model):
        x = tokens(model, 2, 15, seed=2)
        outputs, _ = model(x, model.initial_state(2))
        (tokens(model, 2, 15, seed=3) * outputs).sum().backward()
        optimizer(model.parameters()).step()

    return change


def load(model, **options):
    other = copy.deepcopy(model)
    shake(other, scale=0.1)
    model.load_state_dict(other.state_dict(), **options)


def shake_one_bias(model):
    with torch.no_grad():
        model.layers[1].mem2tok.key_value.bias.add_(0.5)


CHANGES = {
    "sgd": optimizer_step(lambda p: torch.optim.SGD(p, lr=0.01)),
    "adam": optimizer_step(lambda p: torch.optim.Adam(p, lr=0.05)),
    "loop_adam": optimizer_step(lambda p: torch.optim.Adam(p, lr=0.05, foreach=False)),
    "load_state_dict": load,
    "load_and_assign": lambda model: load(model, assign=True),
    "one_bias": shake_one_bias,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("clocks", [[2, 2], [0, 3], [4, 1]])
def test_a_cache_is_dropped_when_the_weights_change_in_the_middle_of_a_segment(change, clocks):
    model = build(n_layers=2, memory_slots=2, segment_length=5)
    _, state, cache = run_steps(model, tokens(model, 2, 13), state_at(model, clocks))
    change(model)
    x = tokens(model, 2, 9, seed=1)
    expected, expected_state, _ = run_steps(model, x, state, keep_cache=False)
    # What the old cache would have done to the outputs: the test can fail.
    stale = cache._replace(
        version=model._weights_version(),
        **{name: getattr(cache, name).clone() for name in cache._fields if name != "version"},
    )
    assert deviation(run_steps(model, x, state, stale)[0], expected) > 1e-3
    outputs, new_state, _ = run_steps(model, x, state, cache)
    assert deviation(outputs, expected) < 1e-12
    assert state_deviation(new_state, expected_state) < 1e-12
    with torch.no_grad():
        whole, _ = model(x, state)
    assert deviation(outputs, whole) < 1e-9


def test_stepping_makes_no_graph_and_holds_no_gradient():
    model = build(n_layers=1, memory_slots=1, segment_length=3)
    y, state, cache = model.step(tokens(model, 2), model.initial_state(2))
    assert not y.requires_grad
    assert not any(part.requires_grad for part in (*state, *cache[:-1]))


def test_the_cache_does_not_grow_with_the_episode():
    model = build(n_layers=2, memory_slots=2, segment_length=3)
    _, state, cache = run_steps(model, tokens(model, 1, 2), model.initial_state(1))
    _, later_state, later = run_steps(model, tokens(model, 1, 50), state, cache)
    assert [part.shape for part in cache[:-1]] == [part.shape for part in later[:-1]]
    assert [part.shape for part in state] == [part.shape for part in later_state]
