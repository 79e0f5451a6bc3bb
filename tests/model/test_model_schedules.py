"""However an episode is cut, shifted, batched or padded, the model gives the same."""

import copy

import gymnasium as gym
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from model_cases import (
    build,
    deviation,
    examples,
    length_of,
    pieces,
    row_of,
    run_pieces,
    run_steps,
    same,
    seeds,
    shake,
    sizes,
    state_at,
    state_deviation,
    tokens,
)

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.model.state import State

clocks = st.lists(st.integers(0, 500), min_size=1, max_size=3)
levels = st.sampled_from([2, 3, 5])


def cutting_deviation(model, x, state, cut):
    """The largest difference an episode's cut makes to outputs, logits and final state."""
    with torch.no_grad():
        whole, whole_state = model(x, state)
    outputs, final_state = run_pieces(model, x, state, cut)
    head = tokens(model, 4, seed=1) / x.shape[-1] ** 0.5
    return max(
        deviation(outputs, whole),
        deviation(outputs @ head.T, whole @ head.T),
        state_deviation(final_state, whole_state),
    )


def float32_error(model, x, state):
    """How far float32 itself is off, one call over the whole episode in float64 being right."""
    exact = State(*(part.double() if part.is_floating_point() else part for part in state))
    with torch.no_grad():
        outputs, new_state = model(x, state)
        right, right_state = copy.deepcopy(model).double()(x.double(), exact)
    return max(deviation(outputs, right), deviation(new_state.memory, right_state.memory))


@examples(25)
@given(options=sizes, cut=pieces(), clocks=clocks, seed=seeds)
def test_cutting_an_episode_into_calls_changes_nothing_in_float32(options, cut, clocks, seed):
    model = build(seed, torch.float32, **options)
    x, state = tokens(model, len(clocks), length_of(cut), seed=seed), state_at(model, clocks, seed)
    # One random net in a thousand magnifies each rounding error from segment to segment.
    assume(float32_error(model, x, state) < 3e-6)
    assert cutting_deviation(model, x, state, cut) < 1e-5


@examples(25)
@given(options=sizes, levels=levels, cut=pieces(), clocks=clocks, seed=seeds)
def test_cutting_an_episode_into_calls_changes_nothing_with_a_rounded_memory(
    options, levels, cut, clocks, seed
):
    model = build(seed, memory_levels=levels, **options)
    x, state = tokens(model, len(clocks), length_of(cut), seed=seed), state_at(model, clocks, seed)
    assert cutting_deviation(model, x, state, cut) < 1e-9


@examples(15)
@given(options=sizes, cut=pieces(60), seed=seeds)
def test_cutting_an_episode_changes_nothing_in_the_logits_of_a_whole_policy(options, cut, seed):
    torch.manual_seed(seed)
    config = ELMURConfig(d_model=8, n_heads=2, d_ff=12, **options)
    policy = PolicyNetwork(gym.spaces.Box(-1, 1, (3,)), 5, config)
    shake(policy.double())
    observation = torch.rand(2, length_of(cut), 3)
    with torch.no_grad():
        features, whole_state = policy(observation, policy.elmur.initial_state(2))
        whole = policy.pi(features)
        state, start, logits = policy.elmur.initial_state(2), 0, []
        for length, _ in cut:
            features, state = policy(observation[:, start : start + length], state)
            logits.append(policy.pi(features))
            start += length
    assert deviation(torch.cat(logits, dim=1), whole) < 1e-9
    assert state_deviation(state, whole_state) < 1e-9


@examples(20)
@given(options=sizes, seed=seeds, data=st.data(), clocks=clocks)
def test_each_row_may_be_cut_at_its_own_places(options, seed, data, clocks):
    model = build(seed, memory_levels=5, **options)
    n_rows, n_tokens = len(clocks), data.draw(st.integers(1, 60))
    x, start = tokens(model, n_rows, n_tokens, seed=seed), state_at(model, clocks, seed)
    ends = data.draw(
        st.lists(
            st.lists(st.integers(0, n_tokens), min_size=3, max_size=3).map(sorted),
            min_size=n_rows,
            max_size=n_rows,
        )
    )
    edges = torch.tensor([[0, *row, n_tokens] for row in ends])
    state, outputs = start, torch.zeros_like(x)
    with torch.no_grad():
        whole, whole_state = model(x, start)
        for begin, end in zip(edges.T[:-1], edges.T[1:], strict=True):
            lengths = end - begin
            if not lengths.any():
                continue
            piece = tokens(model, n_rows, int(lengths.max()), seed=1)  # padded by noise
            for b in range(n_rows):
                piece[b, : lengths[b]] = x[b, begin[b] : end[b]]
            y, state = model(piece, state, lengths)
            for b in range(n_rows):
                outputs[b, begin[b] : end[b]] = y[b, : lengths[b]]
    assert deviation(outputs, whole) < 1e-9
    assert state_deviation(state, whole_state) < 1e-9


@pytest.mark.parametrize("about", [30_000_000, 2**24, 2**40])
@examples(10)
@given(options=sizes, seed=seeds, n_tokens=st.integers(1, 40), clocks=clocks)
def test_an_episode_begun_at_any_clock_gives_the_same_to_the_last_bit(
    about, options, seed, n_tokens, clocks
):
    model = build(seed, torch.float32, **options)
    shift = about // options["segment_length"] * options["segment_length"]
    x = tokens(model, len(clocks), n_tokens, seed=seed)
    # What no window of attention reaches, nor the start's mark: the episode's beginning.
    reach = max(model.config.n_before, model.config.mark_start)
    begun = -(-reach // model.config.segment_length) * model.config.segment_length
    states = [state_at(model, [clock + begun for clock in clocks], seed)]
    if not begun:
        states.append(model.initial_state(len(clocks)))
    for state in states:
        written = state.anchors >= 0
        late = state._replace(
            clock=state.clock + shift,
            anchors=torch.where(written, state.anchors + shift, state.anchors),
        )
        with torch.no_grad():
            for run in (model, lambda x, state: run_steps(model, x, state)[:2]):
                y, after = run(x, state)
                late_y, late_after = run(x, late)
                assert torch.equal(y, late_y)
                assert torch.equal(after.clock + shift, late_after.clock)
                assert torch.equal(after.anchors < 0, late_after.anchors < 0)
                moved = after.anchors[after.anchors >= 0] + shift
                assert torch.equal(moved, late_after.anchors[late_after.anchors >= 0])
                assert torch.equal(after.memory, late_after.memory)


@examples(20)
@given(
    options=sizes,
    seed=seeds,
    clocks=st.lists(st.integers(0, 100), min_size=3, max_size=3),
    lengths=st.lists(st.integers(0, 30), min_size=3, max_size=3).filter(any),
)
def test_a_row_does_not_depend_on_its_neighbours_in_the_batch(options, seed, clocks, lengths):
    model = build(seed, memory_levels=3, **options)
    n_tokens = max(lengths)
    x, state = tokens(model, 3, n_tokens, seed=seed), state_at(model, clocks, seed)
    with torch.no_grad():
        outputs, after = model(x, state, torch.tensor(lengths))
        for b, length in enumerate(lengths):
            if length:
                y, alone = model(x[b : b + 1], row_of(state, b), torch.tensor([length]))
                assert deviation(y[0], outputs[b]) < 1e-9
                assert state_deviation(alone, row_of(after, b)) < 1e-9
        outputs, after, _ = run_steps(model, x[:, :7], state)
        for b in range(3):
            y, alone, _ = run_steps(model, x[b : b + 1, :7], row_of(state, b))
            assert deviation(y[0], outputs[b]) < 1e-9
            assert state_deviation(alone, row_of(after, b)) < 1e-9


@examples(20)
@given(options=sizes, seed=seeds, clocks=clocks, data=st.data())
def test_padding_changes_nothing_and_writes_nothing(options, seed, clocks, data):
    model = build(seed, **options)
    lengths = data.draw(
        st.lists(st.integers(0, 30), min_size=len(clocks), max_size=len(clocks)).filter(any)
    )
    n_tokens = max(lengths) + data.draw(st.integers(1, 15))
    x, state = tokens(model, len(clocks), n_tokens, seed=seed), state_at(model, clocks, seed)
    inside = (torch.arange(n_tokens) < torch.tensor(lengths)[:, None])[..., None]
    with torch.no_grad():
        outputs, after = model(x, state, torch.tensor(lengths))
        for padding in (torch.zeros_like(x), 1e6 * tokens(model, len(clocks), n_tokens)):
            y, padded_after = model(torch.where(inside, x, padding), state, torch.tensor(lengths))
            assert torch.equal(y, outputs)
            assert same(padded_after, after)
        for b, length in enumerate(lengths):
            assert not outputs[b, length:].any()
            row = row_of(state, b)
            if length:
                y, row = model(x[b : b + 1, :length], row)
                assert deviation(y[0], outputs[b, :length]) < 1e-9
            assert state_deviation(row_of(after, b), row) < 1e-9


def test_padding_gives_no_gradient():
    model = build(n_layers=2, memory_slots=2, segment_length=3)
    x = tokens(model, 2, 12).requires_grad_()
    lengths = torch.tensor([5, 12])
    outputs, after = model(x, state_at(model, [1, 4]), lengths)
    (tokens(model, 2, 12, seed=1) * outputs).sum().add(after.memory.pow(2).sum()).backward()
    assert not x.grad[0, 5:].any()
    assert x.grad[0, :5].any() and x.grad[1].any()


def test_a_row_without_data_keeps_its_state_beside_rows_that_have_some():
    model = build(n_layers=2, memory_slots=2, segment_length=3)
    for clock in (0, 3, 4, 6, 8):
        state = state_at(model, [clock, 4, 9])
        outputs, after = model(tokens(model, 3, 8), state, torch.tensor([0, 8, 1]))
        assert not outputs[0].any()
        assert all(torch.equal(a[0], b[0]) for a, b in zip(after, state, strict=True))
        assert after.clock.tolist() == [clock, 12, 10]


def test_a_step_leaves_the_state_it_was_given():
    model = build(n_layers=2, memory_slots=2, segment_length=3)
    state = state_at(model, [0, 4, 5])
    before = type(state)(*(part.clone() for part in state))
    run_steps(model, tokens(model, 3, 6), state)
    model(tokens(model, 3, 6), state)
    assert same(state, before)
