"""Models, states and ways of cutting an episode for the tests of the model."""

import contextlib
from itertools import pairwise

import torch
from gymnasium.spaces import Box
from hypothesis import settings
from hypothesis import strategies as st
from page import run_page
from reference import grid

from rllib_elmur.config import PAPER, ELMURConfig
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.model.state import State

seeds = st.integers(0, 2**31)

sizes = st.fixed_dictionaries(
    {
        "n_layers": st.integers(1, 3),
        "memory_slots": st.integers(1, 4),
        "segment_length": st.integers(1, 12),
        "norm_first": st.booleans(),
        "write_before_read": st.booleans(),
        "lru_blend": st.sampled_from([0.0, 0.3, 0.8, 1.0]),
        "distance_scale": st.sampled_from([1.0, 8.0]),
        "rotate_distances": st.booleans(),
        "read_empty_slots": st.booleans(),
        "mark_start": st.booleans(),
        "attention_window": st.none() | st.integers(1, 16),
    }
)


def examples(n):
    """Settings of a property: n examples, without a time limit for each."""
    return settings(max_examples=n, deadline=None)


def build(seed=0, dtype=torch.float64, **options):
    """A small ELMUR none of whose parameters is zero, one or shared by two layers."""
    options = {**PAPER, "d_model": 8, "n_heads": 2, "d_ff": 12, **options}
    with torch.random.fork_rng(devices=[]), in_precision(dtype):
        torch.manual_seed(seed)
        model = ELMUR(ELMURConfig(**options))
        shake(model)
    return model


@contextlib.contextmanager
def in_precision(dtype):
    """What is built inside has this dtype, and constants its precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def network(seed, **options):
    """A small policy of the paper's form that reads three numbers, shaken."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ELMURConfig(**{**PAPER, "n_heads": 2, **options}, d_model=8, d_ff=12)
        built = PolicyNetwork(Box(-1, 1, (3,)), 4, config)
        shake(built)
    return built


def shake(module, scale=0.2):
    """Moves every parameter by chance, so that none keeps an initial value of zero or one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn_like(parameter)


def with_options(model, **options):
    """The same weights under other options."""
    with in_precision(dtype_of(model)):
        other = ELMUR(ELMURConfig(**{**vars(model.config), **options}))
    other.load_state_dict(model.state_dict())
    return other


def dtype_of(model):
    return model.layers[0].initial_memory.dtype


def tokens(model, *shape, seed=0):
    """Random tokens (*shape, d)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, model.config.d_model, generator=generator, dtype=torch.float64).to(
        dtype_of(model)
    )


def state_at(model, clocks, seed=0):
    """A state whose rows stand at `clocks`, with slots written in any order, some of them empty."""
    c, generator = model.config, torch.Generator().manual_seed(seed)
    state = model.initial_state(len(clocks))
    memory, anchors, segment = state.memory.double(), state.anchors, state.segment.double()
    for b, clock in enumerate(clocks):
        n_segments, phase = divmod(clock, c.segment_length)
        segment[b, :phase] = torch.randn(phase, c.d_model, generator=generator, dtype=torch.float64)
        for i in range(c.n_layers):
            n_written = int(torch.randint(0, c.memory_slots + 1, (), generator=generator))
            slots = torch.randperm(c.memory_slots, generator=generator).tolist()
            ends = torch.randperm(n_segments, generator=generator).tolist()
            for j, end in zip(slots[:n_written], ends, strict=False):
                anchors[b, i, j] = (end + 1) * c.segment_length - 1
                memory[b, i, j] = content(c, generator)
    context = state.context.double()
    for b, clock in enumerate(clocks):
        n_before = min(c.n_before, clock - clock % c.segment_length)
        shape = c.n_layers, n_before, c.d_model
        context[b, :, c.n_before - n_before :] = torch.randn(
            shape, generator=generator, dtype=torch.float64
        )
    dtype = dtype_of(model)
    clock = torch.tensor(clocks, dtype=torch.int64)
    return State(memory.to(dtype), anchors, clock, segment.to(dtype), context.to(dtype))


def filled_state(model, n_rows=2, seed=0):
    """A state between two segments in which every slot has been written, in random order."""
    c, generator = model.config, torch.Generator().manual_seed(seed)
    state = state_at(model, [3 * c.memory_slots * c.segment_length] * n_rows, seed)
    memory, anchors = state.memory.clone(), state.anchors.clone()
    for b in range(n_rows):
        for i in range(c.n_layers):
            ends = torch.randperm(3 * c.memory_slots, generator=generator)[: c.memory_slots]
            anchors[b, i] = (ends + 1) * c.segment_length - 1
            for j in range(c.memory_slots):
                memory[b, i, j] = content(c, generator).to(memory.dtype)
    return state._replace(memory=memory, anchors=anchors)


def content(config, generator):
    """What may stand in a written slot."""
    if config.memory_levels is None:
        return torch.randn(config.d_model, generator=generator, dtype=torch.float64)
    values = torch.tensor(grid(config.memory_levels), dtype=torch.float64)
    return values[torch.randint(len(values), (config.d_model,), generator=generator)]


def run_steps(model, x, state, live=None, keep=True):
    """The step schedule over (B, T, d), with a live batch or from `state`; returns it, too."""
    outputs, live = [], live or LiveBatch(model, state)
    for t in range(x.shape[1]):
        if not keep:
            live = LiveBatch(model, live.state(range(len(x))))
        outputs.append(live.step(x[:, t]))
    return torch.stack(outputs, dim=1), live.state(range(len(x))), live


def run_pieces(model, x, state, pieces):
    """Runs (B, T, d) in pieces, each a (length, way): forward, step, or step without its cache."""
    outputs, start, live = [], 0, None
    with torch.no_grad():
        for length, way in pieces:
            piece = x[:, start : start + length]
            if way == "forward":
                (y, state), live = model(piece, state), None
            else:
                y, state, live = run_steps(model, piece, state, live, way == "step")
            outputs.append(y)
            start += length
    return torch.cat(outputs, dim=1), state


@st.composite
def pieces(draw, longest=200):
    """An episode of 1 to `longest` steps, cut at random places into calls of either schedule."""
    n_tokens = draw(st.integers(1, longest))
    cuts = draw(st.sets(st.integers(1, n_tokens), max_size=7))
    edges = [0, *sorted(cuts - {n_tokens}), n_tokens]
    ways = ["forward", "step", "step without cache"]
    return [
        (b - a, draw(st.sampled_from(ways if b - a <= 20 else ways[:2])))
        for a, b in pairwise(edges)
    ]


def length_of(cut):
    return sum(length for length, _ in cut)


def state_deviation(state, other):
    """The largest difference of memory and open tokens; the integers must be the same."""
    assert state.clock.dtype == state.anchors.dtype == torch.int64
    assert torch.equal(state.clock, other.clock)
    assert torch.equal(state.anchors, other.anchors)
    return max(
        deviation(getattr(state, name), getattr(other, name))
        for name in ("memory", "segment", "context")
    )


def deviation(x, y):
    """The largest absolute difference."""
    assert x.shape == y.shape
    return (x - y).abs().max().item() if x.numel() else 0.0


def row_of(state, b):
    """Row b of a state, as a batch of one."""
    return State(*(part[b : b + 1] for part in state))


def same(state, other):
    """Whether two states are equal to the last bit."""
    return all(torch.equal(a, b) for a, b in zip(state, other, strict=True))


def run(schedule, model, x, state):
    """Outputs and state after `x`, by the schedule of that name."""
    with torch.no_grad():
        if schedule == "sequence":
            return model(x, state)
        if schedule == "page":
            return run_page(model, x, state)
        outputs, new_state, _ = run_steps(model, x, state)
        return outputs, new_state
