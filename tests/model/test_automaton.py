"""The automaton runs what both schedules run, for all continuations of a segment at once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_cases import examples, network, seeds

from rllib_elmur.proof.automaton import PolicyAutomaton, SegmentTree


def test_the_tree_holds_every_sequence_once():
    # 0 is followed by 1 or 2, 1 by 0, 2 by nothing: it ends the episode.
    tree = SegmentTree.grow([0, 1], [[1, 2], [0], []], segment_length=3)
    paths = [
        tuple(tree.symbol[path[: depth + 1]])
        for path, depth in zip(tree.path, tree.depth, strict=True)
    ]
    assert paths == [
        (0,), (1,),
        (0, 1), (0, 2), (1, 0),
        (0, 1, 0), (1, 0, 1), (1, 0, 2),
    ]  # fmt: skip
    assert [paths[leaf] for leaf in tree.leaves] == [(0, 1, 0), (1, 0, 1)]


@examples(40)
@given(
    seed=seeds,
    n_layers=st.integers(1, 2),
    memory_slots=st.integers(1, 3),
    segment_length=st.integers(1, 3),
    memory_levels=st.sampled_from([2, 3, 5]),
    norm_first=st.booleans(),
    write_before_read=st.booleans(),
    lru_blend=st.sampled_from([0.3, 0.8, 1.0]),
    distance_scale=st.sampled_from([1.0, 8.0]),
    rotate_distances=st.booleans(),
    read_empty_slots=st.booleans(),
    mark_start=st.booleans(),
)
def test_segment_by_segment_it_does_what_the_sequence_schedule_does(seed, **options):
    net = network(seed, **options)
    length, slots = options["segment_length"], options["memory_slots"]
    generator = np.random.default_rng(seed)
    inputs = torch.tensor(generator.normal(size=(3, 3)), dtype=torch.float32)
    automaton = PolicyAutomaton(net, inputs)
    tree = SegmentTree.grow(range(3), [range(3)] * 3, length)
    symbols = torch.from_numpy(generator.integers(0, 3, (5, slots + 2, length)))
    memory = torch.zeros(5, options["n_layers"], slots, 8)
    paths = {tuple(tree.symbol[tree.path[node]]): place for place, node in enumerate(tree.leaves)}
    for segment in range(slots + 2):
        # The whole episode so far, from its start.
        seen = symbols[:, : segment + 1].flatten(1)
        with torch.no_grad():
            features, state = net(inputs[seen], net.elmur.initial_state(5))
            logits = net.pi(features)[:, -length:]
        found, updates = automaton.run(tree, memory, min(segment, slots))
        leaves = []
        for row in range(5):
            leaves.append(paths[tuple(symbols[row, segment].tolist())])
            nodes = torch.from_numpy(tree.path[tree.leaves[leaves[-1]]])
            torch.testing.assert_close(found[row, nodes], logits[row], rtol=0, atol=1e-5)
        order = state.anchors.argsort(dim=-1, stable=True)
        expected = state.memory.gather(2, order[..., None].expand_as(state.memory))
        assert torch.equal(memory[:, :, 1:], expected[:, :, :-1])
        written, sides = expected[:, :, -1].numpy(), automaton.sides(updates)
        low, high = (side[range(5), leaves] for side in sides)  # differ at a boundary
        assert ((low <= written) & (written <= high)).all()
        assert (low == high).mean() > 0.9
        memory = expected


@pytest.mark.parametrize(
    ("levels", "values", "low", "high"),
    [
        (2, [-0.5, -1e-6, 1e-6, 3.0], [-1, -1, -1, 1], [-1, 1, 1, 1]),
        (3, [0.499, 0.499999, 0.500001, 1.5], [0, 0, 0, 1], [0, 1, 1, 1]),
        (5, [-1.500001, 1.6, 2.500001, -0.4], [-2, 2, 2, 0], [-1, 2, 2, 0]),
    ],
)
def test_a_value_near_a_boundary_of_rounding_has_two_sides(levels, values, low, high):
    automaton = PolicyAutomaton(network(0, memory_levels=levels), torch.zeros(1, 3))
    sides = automaton.sides(torch.tensor(values))
    assert [side.tolist() for side in sides] == [low, high]
