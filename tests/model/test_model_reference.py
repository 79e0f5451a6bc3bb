"""The page of equations and both schedules against plain loops over the equations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_cases import build, examples, run, seeds, sizes, state_at, tokens
from reference import PlainELMUR

LEVELS = (None, 2, 3, 5)


def reference_deviation(model, x, state, outputs, new_state):
    """The largest difference of outputs and memory from the reference's; integers must agree."""
    plain, worst = PlainELMUR(model), 0.0
    for b in range(len(x)):
        expected, row = plain.run(x[b], plain.row(state, b))
        worst = max(worst, np.abs(outputs[b].numpy() - np.array(expected)).max())
        assert new_state.clock[b] == row.clock
        assert new_state.anchors[b].tolist() == row.anchors
        phase = len(row.segment)
        assert torch.equal(
            new_state.segment[b, :phase],
            torch.from_numpy(np.array(row.segment).reshape(phase, x.shape[-1])),
        )
        assert not new_state.segment[b, phase:].any()
        written = new_state.anchors[b].numpy() >= 0
        memory = new_state.memory[b].numpy()
        worst = max(worst, np.abs(memory - np.array(row.memory))[written].max(initial=0.0))
        assert not memory[~written].any()
    return worst


@pytest.mark.parametrize("schedule", ["page", "sequence", "step"])
@pytest.mark.parametrize("memory_levels", LEVELS)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("write_before_read", [False, True])
def test_model_agrees_with_the_plain_reference(
    schedule, memory_levels, norm_first, write_before_read
):
    for seed, (n, slots, length, blend, n_tokens) in enumerate(
        [(1, 1, 1, 0.8, 7), (2, 2, 5, 0.8, 37), (3, 4, 3, 0.3, 40), (2, 3, 4, 1.0, 23)]
    ):
        model = build(
            seed,
            n_layers=n,
            memory_slots=slots,
            segment_length=length,
            lru_blend=blend,
            norm_first=norm_first,
            write_before_read=write_before_read,
            memory_levels=memory_levels,
        )
        x, state = tokens(model, 2, n_tokens, seed=seed), model.initial_state(2)
        outputs, new_state = run(schedule, model, x, state)
        assert reference_deviation(model, x, state, outputs, new_state) < 1e-9


@examples(25)
@given(
    schedule=st.sampled_from(["page", "sequence", "step"]),
    memory_levels=st.sampled_from(LEVELS),
    options=sizes,
    seed=seeds,
    clocks=st.lists(st.integers(0, 300), min_size=1, max_size=2),
    n_tokens=st.integers(1, 40),
)
def test_model_agrees_with_the_reference_from_any_state_in_any_place_of_a_segment(
    schedule, memory_levels, options, seed, clocks, n_tokens
):
    model = build(seed, memory_levels=memory_levels, **options)
    x, state = tokens(model, len(clocks), n_tokens, seed=seed), state_at(model, clocks, seed)
    outputs, new_state = run(schedule, model, x, state)
    assert reference_deviation(model, x, state, outputs, new_state) < 1e-9


def test_slots_out_of_the_table_s_reach_are_read_at_its_last_distance():
    model = build(3, n_layers=2, memory_slots=2, segment_length=3)
    state = state_at(model, [3000, 3001], seed=3)
    anchors = torch.tensor([2, 2999]).expand_as(state.anchors).clone()
    state = state._replace(anchors=anchors, memory=torch.randn_like(state.memory))
    x = tokens(model, 2, 5)
    for schedule in ("sequence", "step"):
        outputs, new_state = run(schedule, model, x, state)
        assert reference_deviation(model, x, state, outputs, new_state) < 1e-9
