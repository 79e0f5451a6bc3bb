"""`model/fast` computes what `model/equations.py` says: outputs, states and gradients."""

import ast
from pathlib import Path

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
    sizes,
    state_at,
    state_deviation,
    tokens,
)
from page import run_page

from rllib_elmur.model import equations

options = st.builds(
    lambda size, **more: {**size, **more},
    sizes,
    memory_levels=st.sampled_from([None, 2, 3, 5]),
    detach_memory=st.booleans(),
    learned_memory=st.booleans(),
    lru_blend=st.floats(0.0, 1.0),
)
clocks = st.lists(st.integers(0, 200), min_size=1, max_size=4)


@examples(60)
@given(options=options, seed=seeds, clocks=clocks, n_tokens=st.integers(1, 40), data=st.data())
def test_training_computes_what_the_equations_say_and_so_do_its_gradients(
    options, seed, clocks, n_tokens, data
):
    commitment = 0.0 if options["memory_levels"] is None else data.draw(st.sampled_from([0.0, 0.7]))
    model = build(seed, memory_commitment=commitment, **options)
    lengths = st.lists(st.integers(1, n_tokens), min_size=len(clocks), max_size=len(clocks))
    lengths = torch.tensor(data.draw(lengths))
    x, state = tokens(model, len(clocks), n_tokens, seed=seed), state_at(model, clocks, seed)
    found = outputs_and_gradients(model, model, x, state, lengths)
    said = outputs_and_gradients(run_page, model, x, state, lengths)
    assert deviation(found[0], said[0]) < 1e-9
    assert state_deviation(found[1], said[1]) < 1e-9
    for (name, one), other in zip(found[2].items(), said[2].values(), strict=True):
        assert deviation(one, other) < 1e-8, name


def outputs_and_gradients(run, model, x, state, lengths):
    """Outputs, state, and the gradient of every parameter and input of a loss on both of them."""
    x = x.clone().requires_grad_()
    state = state._replace(memory=state.memory.clone().requires_grad_())
    outputs, after = run(x, state, lengths) if run is model else run(model, x, state, lengths)
    loss = (tokens(model, *x.shape[:2], seed=1) * outputs).sum()
    loss = loss + (tokens(model, *after.memory.shape[:3], seed=2) * after.memory).sum()
    inputs = {"tokens": x, "memory": state.memory, **dict(model.named_parameters())}
    inputs = {name: value for name, value in inputs.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    return (
        outputs.detach(),
        type(after)(*(part.detach() for part in after)),
        {
            name: torch.zeros_like(value) if gradient is None else gradient
            for (name, value), gradient in zip(inputs.items(), gradients, strict=True)
        },
    )


@examples(40)
@given(options=options, seed=seeds, clocks=clocks, n_tokens=st.integers(1, 30), data=st.data())
def test_acting_computes_what_the_equations_say(options, seed, clocks, n_tokens, data):
    model = build(seed, **options)
    x, state = tokens(model, len(clocks), n_tokens, seed=seed), state_at(model, clocks, seed)
    outputs, after, _ = run_steps(model, x, state, keep=data.draw(st.booleans()))
    with torch.no_grad():
        said, said_after = run_page(model, x, state)
    assert deviation(outputs, said) < 1e-9
    assert state_deviation(after, said_after) < 1e-9


def test_a_segment_that_is_not_complete_is_not_written():
    model = build(n_layers=1, memory_slots=2, segment_length=4, attention_window=3)
    layer, state = model.layers[0], state_at(model, [8, 12])
    memory, anchors, context = (part[:, 0] for part in (state.memory, state.anchors, state.context))
    for size in (1, 3):
        x = tokens(model, 2, size)
        h, same, kept, before = layer(x, state.clock, memory, anchors, context)
        assert h.shape == (2, size, model.config.d_model)
        filled = anchors >= 0
        assert torch.equal(same[filled], memory[filled]) and torch.equal(kept, anchors)
        assert torch.equal(before, context)
    x = tokens(model, 2, 4)
    _, _, moved, behind = layer(x, state.clock, memory, anchors, context)
    assert (moved != anchors).sum(1).tolist() == [1, 1]
    assert torch.equal(behind, x[:, 2:])


@pytest.mark.parametrize("change", ["qkv", "distance_keys", "content_bias", "mem2tok", "tok2mem"])
def test_the_comparison_sees_a_part_that_only_one_side_has(change):
    model = build(n_layers=1, memory_slots=2, segment_length=3)
    x, state = tokens(model, 2, 9), state_at(model, [3, 7])
    found, _ = model(x, state)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if change in name:
                parameter.mul_(1.01)
    assert deviation(found, run_page(model, x, state)[0]) > 1e-7


def test_the_equations_are_one_page_that_needs_nothing_of_what_is_quick():
    source = Path(equations.__file__).read_text()
    assert len(source.splitlines()) <= 220
    imported = [n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
    ours = {name for name in imported if name.startswith("rllib_elmur")}
    assert ours == {"rllib_elmur.config", "rllib_elmur.model.memory"}
