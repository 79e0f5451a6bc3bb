"""Gradient flows through every write of a training sequence."""

import pytest
import torch
from model_cases import build, deviation, state_at, tokens, with_options

WRITE_PATH = ("tok2mem", "memory_ffn", "write_residual", "memory_ffn_residual")
SIZES = {"n_layers": 3, "memory_slots": 2, "segment_length": 4, "mark_start": True}


def last_segment_loss(model, n_segments=5):
    """A loss on the outputs of the last of a training sequence's segments."""
    length = model.config.segment_length
    x = tokens(model, 2, n_segments * length)
    outputs, _ = model(x, model.initial_state(2))
    last = outputs[:, -length:]
    return (tokens(model, *last.shape[:2], seed=1) * last).sum()


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def is_write_path(name):
    return any(part in WRITE_PATH for part in name.split("."))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("memory_levels", [None, 2, 5])
def test_a_loss_on_the_last_segment_reaches_the_write_path_and_the_initial_memory_of_every_layer(
    memory_levels, norm_first
):
    model = build(memory_levels=memory_levels, norm_first=norm_first, **SIZES)
    last_segment_loss(model).backward()
    for name, gradient in gradients(model).items():
        assert gradient is not None, name
        assert gradient.abs().max() > 1e-9, name


@pytest.mark.parametrize("n_segments", [2, 3, 8])
def test_the_write_path_learns_from_any_later_segment(n_segments):
    model = build(**SIZES)
    last_segment_loss(model, n_segments).backward()
    for name, gradient in gradients(model).items():
        assert gradient.abs().max() > 1e-9, name


@pytest.mark.parametrize("memory_levels", [None, 5])
def test_with_detach_memory_it_reaches_neither(memory_levels):
    model = build(memory_levels=memory_levels, detach_memory=True, **SIZES)
    last_segment_loss(model).backward()
    for name, gradient in gradients(model).items():
        if is_write_path(name) or name.endswith("initial_memory") or name == "start":
            assert gradient is None or not gradient.any(), name
        else:
            assert gradient.abs().max() > 1e-9, name


def test_with_detach_memory_the_first_segment_still_trains_the_initial_memory():
    model = build(detach_memory=True, **SIZES)
    outputs, _ = model(tokens(model, 2, 20), model.initial_state(2))
    (tokens(model, 2, 20, seed=1) * outputs).sum().backward()
    assert all(layer.initial_memory.grad.any() for layer in model.layers)


def test_detach_memory_changes_no_output():
    model = build(**SIZES)
    detached = with_options(model, detach_memory=True)
    x, state = tokens(model, 2, 30), state_at(model, [0, 9])
    assert torch.equal(model(x, state)[0], detached(x, state)[0])


def test_an_initial_memory_that_is_not_learned_gets_no_gradient():
    model = build(learned_memory=False, **SIZES)
    last_segment_loss(model).backward()
    for name, gradient in gradients(model).items():
        if name.endswith("initial_memory"):
            assert gradient is None
        else:
            assert gradient.abs().max() > 1e-9, name
    # It is drawn, saved and restored all the same.
    assert any(name.endswith("initial_memory") for name in model.state_dict())


def test_the_initial_memory_is_drawn_with_the_given_deviation():
    for std in (0.0, 0.1, 2.0):
        model = build(d_model=64, memory_slots=64, n_layers=1, memory_init_std=std)
        reference = build(d_model=64, memory_slots=64, n_layers=1, memory_init_std=0.0)
        drawn = model.layers[0].initial_memory - reference.layers[0].initial_memory
        assert abs(drawn.std().item() - std) <= 0.05 * std


@pytest.mark.parametrize("norm_first", [False, True])
def test_gradients_are_those_of_finite_differences(norm_first):
    model = build(
        d_model=4,
        d_ff=4,
        n_layers=2,
        memory_slots=2,
        segment_length=2,
        norm_first=norm_first,
    )
    names = [name for name, _ in model.named_parameters()]
    x, start = tokens(model, 2, 7), state_at(model, [0, 5])

    def run(x, *parameters):
        outputs, state = torch.func.functional_call(
            model, dict(zip(names, parameters, strict=True)), (x, start, torch.tensor([7, 6]))
        )
        return outputs, state.memory

    parameters = [parameter.detach().requires_grad_() for parameter in model.parameters()]
    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *parameters), fast_mode=True)


def test_gradient_flows_through_the_state_from_one_call_to_the_next():
    model = build(**SIZES)
    x, weight = tokens(model, 2, 22), tokens(model, 2, 22, seed=1)
    outputs, _ = model(x, model.initial_state(2))
    whole = torch.autograd.grad((outputs * weight).sum(), list(model.parameters()))
    first, state = model(x[:, :9], model.initial_state(2))
    second, _ = model(x[:, 9:], state)
    outputs = torch.cat([first, second], dim=1)
    cut = torch.autograd.grad((outputs * weight).sum(), list(model.parameters()))
    assert max(deviation(a, b) for a, b in zip(whole, cut, strict=True)) < 1e-9


@pytest.mark.parametrize("detach_memory", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("n_tokens", [1, 4, 7, 9])  # no segment, one, one and a part, more
def test_every_parameter_has_a_gradient_whatever_the_batch_holds(
    n_tokens, norm_first, detach_memory
):
    model = build(norm_first=norm_first, detach_memory=detach_memory, **SIZES)
    outputs, _ = model(tokens(model, 2, n_tokens), state_at(model, [0, 8]))
    outputs.sum().backward()
    assert not [name for name, gradient in gradients(model).items() if gradient is None]


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("write_before_read", [False, True])
@pytest.mark.parametrize("attention_window", [None, 3])
def test_every_parameter_has_a_gradient_where_a_segment_is_one_token(
    attention_window, write_before_read, norm_first
):
    options = {"write_before_read": write_before_read, "norm_first": norm_first}
    model = build(**{**SIZES, "segment_length": 1}, attention_window=attention_window, **options)
    outputs, _ = model(tokens(model, 2, 5), state_at(model, [0, 8]))
    outputs.sum().backward()
    assert not [name for name, gradient in gradients(model).items() if gradient is None]
