"""A live batch that is copied or pickled goes on as the one it was made of."""

import copy
import pickle

import pytest
import torch
from model_cases import build, deviation, tokens


def pickled(live):
    return pickle.loads(pickle.dumps(live))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_copy_goes_on_with_what_was_remembered_and_leaves_the_other_alone(again, n_layers):
    model = build(n_layers=n_layers, segment_length=2, memory_slots=3, attention_window=4)
    x = tokens(model, 2, 24)
    whole = model.live(model.initial_state(2))
    expected = torch.stack([whole.step(x[:, t]) for t in range(24)])
    live = model.live(model.initial_state(2))
    for t in range(9):
        live.step(x[:, t])
    twin = again(live)
    for one in (twin, live):
        found = torch.stack([one.step(x[:, t]) for t in range(9, 24)])
        assert deviation(found, expected[9:]) < 1e-12
