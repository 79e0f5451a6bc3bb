"""What a segment writes: the LRU rule, rounding, and the initial memory behind empty slots."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_cases import (
    build,
    deviation,
    examples,
    filled_state,
    run,
    same,
    seeds,
    sizes,
    state_at,
    tokens,
    with_options,
)
from reference import EMPTY

schedules = st.sampled_from(["sequence", "step"])
blends = st.sampled_from([0.0, 0.3, 0.8, 1.0])


def run_segment(schedule, model, state, seed=0):
    """The state after one more whole segment."""
    c = model.config
    return run(
        schedule, model, tokens(model, len(state.clock), c.segment_length, seed=seed), state
    )[1]


def slots_of(state):
    """Every (row, layer) of a state."""
    return [(b, i) for b in range(state.anchors.shape[0]) for i in range(state.anchors.shape[1])]


@examples(15)
@given(schedule=schedules, options=sizes, seed=seeds)
def test_empty_slots_are_filled_in_order(schedule, options, seed):
    model = build(seed, **options)
    state, length = model.initial_state(2), options["segment_length"]
    for k in range(options["memory_slots"]):
        state = run_segment(schedule, model, state, seed + k)
        ends = [(s + 1) * length - 1 for s in range(k + 1)]
        expected = ends + [EMPTY] * (options["memory_slots"] - k - 1)
        assert all(state.anchors[b, i].tolist() == expected for b, i in slots_of(state))


@examples(15)
@given(schedule=schedules, options=sizes, seed=seeds)
def test_an_empty_slot_is_replaced_whatever_the_blend(schedule, options, seed):
    model = build(seed, **options)
    states = [model.initial_state(2), model.initial_state(2)]
    models = [with_options(model, lru_blend=blend) for blend in (0.1, 1.0)]
    for k in range(options["memory_slots"]):
        states = [
            run_segment(schedule, m, state, seed + k)
            for m, state in zip(models, states, strict=True)
        ]
        assert same(*states)
    assert states[0].memory.any(dim=-1).all()


@examples(20)
@given(schedule=schedules, options=sizes, seed=seeds)
def test_with_no_slot_empty_the_smallest_anchor_is_written(schedule, options, seed):
    model = build(seed, **options)
    state = filled_state(model, seed=seed)
    for k in range(options["memory_slots"] + 1):
        before, state = state, run_segment(schedule, model, state, seed + k)
        for b, i in slots_of(state):
            expected = before.anchors[b, i].tolist()
            expected[expected.index(min(expected))] = int(state.clock[b]) - 1
            assert state.anchors[b, i].tolist() == expected


@examples(20)
@given(
    schedule=schedules,
    options=sizes,
    seed=seeds,
    n_segments=st.lists(st.integers(0, 6), min_size=2, max_size=2),
    memory_levels=st.sampled_from([None, 3]),
)
def test_exactly_one_slot_changes_per_segment(schedule, options, seed, n_segments, memory_levels):
    model = build(seed, **{**options, "lru_blend": 1.0}, memory_levels=memory_levels)
    before = state_at(model, [n * options["segment_length"] for n in n_segments], seed)
    for k in range(3):
        after = run_segment(schedule, model, before, seed + k)
        moved = after.anchors != before.anchors
        assert (moved.sum(-1) == 1).all()
        changed = (after.memory != before.memory).any(-1)
        assert not (changed & ~moved).any()
        if memory_levels is None:
            assert torch.equal(changed, moved)
        before = after


@examples(20)
@given(
    options=sizes,
    seed=seeds,
    clock=st.integers(0, 60),
    n_tokens=st.integers(1, 100),
    blend=blends,
)
def test_the_ring_holds_what_the_general_rule_gives(options, seed, clock, n_tokens, blend):
    model = build(seed, **{**options, "lru_blend": blend})
    length, state = options["segment_length"], state_at(model, [clock, clock + 7], seed)
    _, after = run("sequence", model, tokens(model, 2, n_tokens, seed=seed), state)
    for b, i in slots_of(state):
        anchors = state.anchors[b, i].tolist()
        for position in range(int(state.clock[b]), int(state.clock[b]) + n_tokens):
            if (position + 1) % length == 0:
                j = anchors.index(EMPTY if EMPTY in anchors else min(anchors))
                anchors[j] = position
        assert after.anchors[b, i].tolist() == anchors


@examples(20)
@given(schedule=schedules, options=sizes, seed=seeds, clock=st.integers(0, 60), data=st.data())
def test_an_unfinished_segment_writes_nothing(schedule, options, seed, clock, data):
    if options["segment_length"] == 1:
        options = {**options, "segment_length": 2}
    length = options["segment_length"]
    clock = clock // length * length + data.draw(st.integers(0, length - 2))
    n_tokens = data.draw(st.integers(1, length - 1 - clock % length))
    model = build(seed, **options)
    state, x = state_at(model, [clock, clock], seed), tokens(model, 2, n_tokens, seed=seed)
    _, after = run(schedule, model, x, state)
    assert torch.equal(after.memory, state.memory)
    assert torch.equal(after.anchors, state.anchors)
    assert torch.equal(after.clock, state.clock + n_tokens)
    phase = clock % length
    marked = model.mark(x, (clock + torch.arange(n_tokens)).expand(2, -1))
    assert torch.equal(after.segment[:, phase : phase + n_tokens], marked)
    assert torch.equal(after.segment[:, :phase], state.segment[:, :phase])


@examples(20)
@given(schedule=schedules, options=sizes, seed=seeds, blend=st.floats(0, 1))
def test_a_filled_slot_moves_to_its_replacement_by_lambda(schedule, options, seed, blend):
    model = build(seed, **options)
    state = filled_state(model, seed=seed)
    written, replaced = (
        run_segment(schedule, with_options(model, lru_blend=share), state, seed)
        for share in (blend, 1.0)
    )
    assert torch.equal(written.anchors, replaced.anchors)
    # The update itself does not depend on lambda in the first layer and, as a segment reads before
    # it writes, in no other.
    expected = blend * replaced.memory + (1 - blend) * state.memory
    assert deviation(written.memory, expected) < 1e-12


@examples(15)
@given(schedule=schedules, options=sizes, seed=seeds, levels=st.sampled_from([None, 2, 3, 5]))
def test_lambda_zero_leaves_the_content_and_moves_the_anchor(schedule, options, seed, levels):
    model = build(seed, **{**options, "lru_blend": 0.0}, memory_levels=levels)
    state = filled_state(model, seed=seed)
    after = run_segment(schedule, model, state, seed)
    assert torch.equal(after.memory, state.memory)
    assert ((after.anchors != state.anchors).sum(-1) == 1).all()


@examples(15)
@given(schedule=schedules, options=sizes, seed=seeds)
def test_lambda_one_keeps_nothing_of_the_old_content_but_through_its_query(schedule, options, seed):
    model = build(seed, **{**options, "lru_blend": 1.0, "norm_first": False})
    with torch.no_grad():
        for layer in model.layers:  # a write that cannot see the slot: its residual norm is cut
            layer.write_residual.after.weight.zero_()
    state = filled_state(model, seed=seed)
    x = tokens(model, 2, options["segment_length"], seed=seed)
    _, after = run(schedule, model, x, state)
    for i, layer in enumerate(model.layers):
        u = layer.write_residual.after.bias.detach()
        u = layer.memory_ffn_residual(u, layer.memory_ffn).detach()
        for b in range(2):
            (j,) = (after.anchors[b, i] != state.anchors[b, i]).nonzero()[:, 0].tolist()
            assert deviation(after.memory[b, i, j], u) < 1e-12


@pytest.mark.parametrize("memory_levels", [None, 5])
def test_a_slot_is_read_from_the_parameter_as_long_as_it_is_empty(memory_levels):
    model = build(n_layers=2, memory_slots=3, segment_length=4, memory_levels=memory_levels)
    state, x = state_at(model, [0, 6, 9, 13], seed=4), tokens(model, 4, 11)
    empty = state.anchors == EMPTY
    assert empty.any() and not empty.all()
    for garbage in (1e6, float("nan")):
        spoiled = state._replace(memory=state.memory.masked_fill(empty[..., None], garbage))
        for schedule in ("sequence", "step"):
            y, after = run(schedule, model, x, state)
            spoiled_y, spoiled_after = run(schedule, model, x, spoiled)
            assert torch.equal(y, spoiled_y)
            written = after.anchors >= 0
            assert torch.equal(after.memory[written], spoiled_after.memory[written])
            assert torch.equal(after.anchors, spoiled_after.anchors)


def test_nothing_of_an_empty_slot_travels():
    model = build(n_layers=2, memory_slots=3, segment_length=4)
    start = model.initial_state(2)
    assert not start.memory.any() and not start.segment.any() and not start.clock.any()
    assert (start.anchors == EMPTY).all()
    for schedule in ("sequence", "step"):
        _, state = run(schedule, model, tokens(model, 2, 5), start)
        assert state.memory[:, :, 0].any() and not state.memory[:, :, 1:].any()


@pytest.mark.parametrize("read_empty_slots", [True, False])
def test_empty_slots_are_read_if_asked_or_if_there_are_no_others(read_empty_slots):
    options = {"n_layers": 1, "memory_slots": 3, "segment_length": 2, "write_before_read": True}
    model = build(**options, read_empty_slots=read_empty_slots)
    other = with_options(model)
    with torch.no_grad():
        other.layers[0].initial_memory[2] += 1.0  # of the slot that is written last
    x, changes = tokens(model, 1, 6), []
    for schedule in ("sequence", "step"):
        y, other_y = (run(schedule, m, x, m.initial_state(1))[0] for m in (model, other))
        changes.append((y != other_y).any(-1)[0].tolist())
    # While the first segment reads, all slots are empty.
    assert changes == [[read_empty_slots or t < 2 for t in range(6)]] * 2
