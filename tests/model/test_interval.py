"""Bounds hold what a policy does under any noise, and a verdict under noise is that of episodes."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_cases import examples, network, seeds

from rllib_elmur.envs import FiniteTask, TMazePassiveEnv
from rllib_elmur.proof.automaton import PolicyAutomaton, SegmentTree, inputs_of
from rllib_elmur.proof.interval import Interval
from rllib_elmur.proof.pieces import in_pieces


def chain(seed, length, spread):
    """A task that shows so many inputs one after the other, and its tree."""
    observation = np.random.default_rng(seed).normal(size=(length, 3))
    number = np.arange(length)
    correct = np.eye(4, dtype=bool)[number % 4]
    task = FiniteTask(number[:1], number, observation, correct, number + 1, spread=spread)
    following = [[n + 1] if n + 1 < length else [n] for n in number]
    return task, SegmentTree.grow([0], following, length)


@examples(60)
@given(
    seed=seeds,
    spread=st.sampled_from([[0, 0, 1e-3], [0.01, 0, 0.02], [0, 0.1, 0], [0.3, 0.3, 0.3]]),
    n_layers=st.integers(1, 2),
    memory_slots=st.integers(1, 3),
    segment_length=st.integers(1, 3),
    memory_levels=st.sampled_from([2, 3, 4]),
    norm_first=st.booleans(),
    write_before_read=st.booleans(),
    lru_blend=st.sampled_from([0.3, 0.8, 1.0]),
    mark_start=st.booleans(),
)
def test_what_a_policy_does_under_noise_lies_within_the_bounds(seed, spread, **options):
    net, generator = network(seed, **options).double(), np.random.default_rng(seed)
    length, slots = options["segment_length"], options["memory_slots"]
    task, tree = chain(seed, length, np.array(spread))
    values = {2: [-1, 1], 3: [-1, 0, 1], 4: [-3, -1, 1, 3]}[options["memory_levels"]]
    memory = torch.from_numpy(generator.choice(values, (2, options["n_layers"], slots, 8)))
    written = int(generator.integers(0, slots + 1))
    bounds = PolicyAutomaton(net, inputs_of(task)).run(tree, memory, written)
    assert all(isinstance(part, Interval) for part in bounds)
    for noise in [
        *generator.uniform(-1, 1, (20, length, 3)),
        *generator.choice([-1, 1], (20, length, 3)),
    ]:
        moved = torch.from_numpy(task.observation + noise * task.spread)
        found = PolicyAutomaton(net, moved).run(tree, memory, written)
        for part, bound in zip(found, bounds, strict=True):
            assert (part >= bound.low - 1e-9).all() and (part <= bound.high + 1e-9).all()


def test_bounds_shrink_with_the_noise():
    net, wide = network(0, segment_length=3, memory_levels=2).double(), []
    for size in (1e-10, 1e-11):
        task, tree = chain(0, 3, np.full(3, size))
        memory = torch.ones(1, 2, 2, 8)
        wide.append(
            [part.deviation for part in PolicyAutomaton(net, inputs_of(task)).run(tree, memory, 1)]
        )
    for one, tenth in zip(*wide, strict=True):
        torch.testing.assert_close(tenth * 10, one, rtol=0.05, atol=1e-16)


def test_bounds_of_weights_hold_however_far_a_logit_may_lie():
    center = torch.tensor([0.0, -746.0, 3.0, -torch.inf], dtype=torch.float64)
    for far in (1e-3, 1.0, 40.0, 370.0, 400.0, 1e6):
        logits = Interval(center, [], torch.full_like(center, far))
        bounds = logits.softmax(0)
        for signs in product((-1, 0, 1), repeat=3):
            weights = (center + far * torch.tensor([*signs, 0])).softmax(0)
            assert (weights >= bounds.low - 1e-12).all() and (weights <= bounds.high + 1e-12).all()
        assert bounds.low[3] == bounds.high[3] == 0


def test_a_blend_of_nothing_leaves_a_slot_as_it_is():
    slot, new = torch.tensor([2.0]), Interval(torch.ones(1), [torch.ones(1)], torch.ones(1))
    blend = torch.lerp(slot, new, torch.zeros(1))
    assert blend.low == blend.high == slot


def test_a_function_without_bounds_is_refused():
    one = Interval.around(torch.zeros(1, 2), torch.ones(2))
    with pytest.raises(NotImplementedError, match=r"no bounds of .*cumsum"):
        torch.cumsum(one, 0)


@pytest.mark.parametrize("pieces", [1, 3])
def test_pieces_cover_a_spread_and_no_more(pieces):
    task = TMazePassiveEnv(noise_bound=0.1).finite_task()
    cut = in_pieces(task, pieces)
    assert len(cut.source) == pieces * len(task.source)
    low, high = cut.observation - cut.spread, cut.observation + cut.spread
    for edge in range(len(task.source)):
        own = slice(edge * pieces, (edge + 1) * pieces)
        assert (cut.target[own] == task.target[edge]).all()
        ends = np.sort(np.stack([low[own, 3], high[own, 3]], axis=1), axis=0)
        assert (ends[1:, 0] <= ends[:-1, 1]).all()  # side by side
        np.testing.assert_allclose(ends[1:, 0], ends[:-1, 1], atol=1e-6)
        np.testing.assert_allclose([ends[0, 0], ends[-1, 1]], [-0.1, 0.1], atol=1e-6)
        assert (low[own, :3] == task.observation[edge, :3]).all()
