"""What the step schedule keeps is derived: it may be lost, and goes when the weights change."""

import copy

import pytest
import torch
import tree
from hypothesis import given
from hypothesis import strategies as st
from model_cases import (
    build,
    deviation,
    examples,
    row_of,
    run_steps,
    seeds,
    shake,
    sizes,
    state_at,
    state_deviation,
    tokens,
)

from rllib_elmur.model.fast.live import LiveBatch


def begin_of(rows):
    """The first one or more of some rows."""
    return st.integers(1, len(rows)).map(lambda n: list(rows[:n]))


@examples(25)
@given(
    options=sizes,
    seed=seeds,
    clocks=st.lists(st.integers(0, 100), min_size=1, max_size=3),
    n_tokens=st.integers(1, 25),
)
def test_a_live_batch_made_anew_at_each_step_equals_the_kept_one(options, seed, clocks, n_tokens):
    model = build(seed, memory_levels=5, **options)
    x, state = tokens(model, len(clocks), n_tokens, seed=seed), state_at(model, clocks, seed)
    kept, kept_state, _ = run_steps(model, x, state)
    rebuilt, rebuilt_state, _ = run_steps(model, x, state, keep=False)
    assert deviation(kept, rebuilt) < 1e-9
    assert state_deviation(kept_state, rebuilt_state) < 1e-9


@examples(25)
@given(
    options=sizes,
    seed=seeds,
    clocks=st.lists(st.integers(0, 100), min_size=3, max_size=3),
    resets=st.lists(st.sets(st.integers(0, 2)), min_size=1, max_size=25),
)
def test_a_row_that_is_reset_starts_an_episode_and_leaves_the_others_alone(
    options, seed, clocks, resets
):
    model = build(seed, memory_levels=5, **options)
    x, state = tokens(model, 3, len(resets), seed=seed), state_at(model, clocks, seed)
    live = LiveBatch(model, state)
    rows = [LiveBatch(model, row_of(state, b)) for b in range(3)]
    for t, reset in enumerate(resets):
        if reset:
            live.reset(sorted(reset))
        for b in reset:
            rows[b] = LiveBatch(model, model.initial_state())
        expected = torch.cat([row.step(x[b : b + 1, t]) for b, row in enumerate(rows)])
        assert deviation(live.step(x[:, t]), expected) < 1e-9
    for b, row in enumerate(rows):
        assert state_deviation(live.state([b]), row.state([0])) < 1e-9


def test_what_a_live_batch_keeps_is_used():
    model = build(n_layers=2, memory_slots=2, segment_length=5)
    _, state, live = run_steps(model, tokens(model, 2, 8), state_at(model, [0, 3]))
    spoiled = copy.deepcopy(live)
    spoiled._ring.context.add_(tokens(model, 2, 5, seed=2))
    spoiled.elmur, spoiled._version = model, model.absorbed.version()
    x = tokens(model, 2, seed=1)
    fresh = LiveBatch(model, state).step(x)
    assert deviation(live.step(x), fresh) < 1e-9
    assert deviation(spoiled.step(x), fresh) > 1e-3


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


def shake_one_matrix(model):
    with torch.no_grad():
        model.layers[1].mem2tok.key_value.weight.mul_(1.5)


CHANGES = {
    "sgd": optimizer_step(lambda p: torch.optim.SGD(p, lr=0.01)),
    "adam": optimizer_step(lambda p: torch.optim.Adam(p, lr=0.05)),
    "loop_adam": optimizer_step(lambda p: torch.optim.Adam(p, lr=0.05, foreach=False)),
    "load_state_dict": load,
    "load_and_assign": lambda model: load(model, assign=True),
    "one_matrix": shake_one_matrix,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("clocks", [[2, 2], [0, 3], [4, 1]])
def test_what_is_derived_goes_when_the_weights_change_in_the_middle_of_a_segment(change, clocks):
    model = build(n_layers=2, memory_slots=2, segment_length=5)
    _, state, live = run_steps(model, tokens(model, 2, 13), state_at(model, clocks))
    before = copy.deepcopy(live)
    change(model)
    x = tokens(model, 2, 9, seed=1)
    expected, expected_state, _ = run_steps(model, x, state, keep=False)
    # What stale keys and values would have done to the outputs: the test can fail.
    before.elmur, before._version = model, model.absorbed.version()
    assert deviation(run_steps(model, x, state, before)[0], expected) > 1e-3
    outputs, new_state, _ = run_steps(model, x, state, live)
    assert deviation(outputs, expected) < 1e-12
    assert state_deviation(new_state, expected_state) < 1e-12
    with torch.no_grad():
        whole, _ = model(x, state)
    assert deviation(outputs, whole) < 1e-9


def test_a_reset_after_a_change_of_weights_starts_from_the_new_memory():
    model = build(n_layers=2, memory_slots=2, segment_length=5)
    _, _, live = run_steps(model, tokens(model, 2, 13), state_at(model, [2, 4]))
    shake(model)
    live.reset([0, 1])
    x = tokens(model, 2, seed=1)
    assert deviation(live.step(x), LiveBatch(model, model.initial_state(2)).step(x)) < 1e-12


def test_stepping_makes_no_graph_and_holds_no_gradient():
    model = build(n_layers=1, memory_slots=1, segment_length=3)
    y, state, live = run_steps(model, tokens(model, 2, 4), model.initial_state(2))
    assert not y.requires_grad
    assert not any(part.requires_grad for part in state)
    assert not any(part.requires_grad for part in tensors(live).values())


def test_a_live_batch_does_not_grow_with_the_episode():
    model = build(n_layers=2, memory_slots=2, segment_length=3)
    _, state, live = run_steps(model, tokens(model, 1, 2), model.initial_state(1))
    shapes = {name: part.shape for name, part in tensors(live).items()}
    _, later_state, later = run_steps(model, tokens(model, 1, 50), state, live)
    assert later is live
    assert shapes == {name: part.shape for name, part in tensors(live).items()}
    assert [part.shape for part in state] == [part.shape for part in later_state]


def test_a_batch_made_in_inference_mode_goes_on_outside_of_it():
    model = build(n_layers=2, memory_slots=2, segment_length=3)
    x = tokens(model, 1, 9)
    with torch.inference_mode():
        _, state, live = run_steps(model, x[:, :4], model.initial_state(1))
    outputs, _, _ = run_steps(model, x[:, 4:], state, live)
    with torch.no_grad():
        assert deviation(outputs, model(x, model.initial_state(1))[0][:, 4:]) < 1e-9


def tensors(live):
    kept = {k: value for k, value in vars(live).items() if k not in ("elmur", "_weights")}
    return {
        path: value
        for path, value in tree.flatten_with_path(kept)
        if isinstance(value, torch.Tensor)
    }


def test_a_fused_optimizer_leaves_nothing_derived_from_the_old_weights():
    model = build(n_layers=2, memory_slots=2, segment_length=3)
    x, state = tokens(model, 1, 9), model.initial_state(1)
    with torch.no_grad():
        before, _ = model(x, state)  # derives, as a value function does before an update
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, fused=True)
    model(x, state)[0].sum().backward()
    optimizer.step()
    with torch.no_grad():
        after, _ = model(x, state)
        assert deviation(after, copy.deepcopy(model)(x, state)[0]) < 1e-12
    assert deviation(after, before) > 1e-3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_model_that_has_acted_and_been_given_weights_can_be_copied(mode):
    model = build(n_layers=1, segment_length=3)
    x, state = tokens(model, 2, 1), model.initial_state(2)
    with mode():
        LiveBatch(model, state).step(x[:, 0])
    load(model)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(x, state)[0], model(x, state)[0])


@examples(25)
@given(
    options=sizes,
    seed=seeds,
    clocks=st.lists(st.integers(0, 100), min_size=4, max_size=4),
    n_before=st.integers(1, 20),
    chosen=st.lists(st.permutations(range(4)).flatmap(begin_of), min_size=1, max_size=20),
)
def test_rows_go_on_alone_while_the_others_stand_still(options, seed, clocks, n_before, chosen):
    model = build(seed, **options)
    start = state_at(model, clocks, seed)
    _, _, live = run_steps(model, tokens(model, 4, n_before, seed=seed), start)
    alone = [LiveBatch(model, live.state([b])) for b in range(4)]
    for t, rows in enumerate(chosen):
        x = tokens(model, len(rows), seed=seed + t + 1)
        part = live.take(rows)
        y = part.step(x)
        live.put(rows, part)
        expected = torch.cat([alone[b].step(x[i : i + 1]) for i, b in enumerate(rows)])
        assert deviation(y, expected) < 1e-9
        if t == 5:  # a larger batch, at a step of its own, takes all of them
            _, _, larger = run_steps(model, tokens(model, 6, 2), model.initial_state(6))
            larger.put(range(4), live)
            live = larger
    for b, row in enumerate(alone):
        assert state_deviation(live.state([b]), row.state([0])) < 1e-9
