"""Device and dtype follow the weights, whatever the defaults are."""

import pytest
import torch
from model_cases import build, state_at, tokens

from rllib_elmur.model.fast.live import LiveBatch

CLOCKS = [0, 3, 8]


@pytest.fixture
def elsewhere():
    """A default device on which nothing can be computed together with the model's tensors."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize("memory_levels", [None, 2])
def test_no_tensor_of_training_is_made_on_another_device(memory_levels, request):
    model = build(memory_levels=memory_levels, n_layers=2, mark_start=True)
    x, state = tokens(model, 3, 12), state_at(model, CLOCKS)
    request.getfixturevalue("elsewhere")
    outputs, after = model(x, state)
    outputs.sum().backward()
    assert {t.device.type for t in (outputs, *after)} == {"cpu"}
    assert model.initial_state(2).clock.device.type == "cpu"


def test_no_tensor_of_a_rollout_is_made_on_another_device(request):
    model = build(memory_levels=2, n_layers=2, mark_start=True)
    x, state = tokens(model, 3, 12), state_at(model, CLOCKS)
    request.getfixturevalue("elsewhere")
    live = LiveBatch(model, state)
    for t in range(12):
        if t == 5:
            live.reset([1])
        assert live.step(x[:, t]).device.type == "cpu"
        states = *live.state([0, 2]), *live.state_before([0, 2])
        assert {part.device.type for part in states} == {"cpu"}


def test_autocast_to_bfloat16_leaves_integers_and_rounding_exact():
    model = build(memory_levels=5, n_layers=2, mark_start=True).float()
    x, state = tokens(model, 3, 17).float(), model.initial_state(3)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, after = model(x, state)
        outputs.float().square().mean().backward()
    assert after.clock.dtype == after.anchors.dtype == torch.int64
    assert torch.equal(after.anchors, model(x, state)[1].anchors)
    assert torch.equal(after.memory.float(), after.memory.float().round())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
