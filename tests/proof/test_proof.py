"""A proof that is written down, checked without this package, and how much it remembers."""

import ast
import copy
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_search import CASES, proven, trained
from test_search_by_hand import FOREVER, TWO_SIGHTS, policy, task_of, with_content_by_sight

from rllib_elmur.config import PAPER, ELMURConfig
from rllib_elmur.envs import TMazePassiveEnv
from rllib_elmur.envs.finite import END
from rllib_elmur.errors import UserError
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof import check
from rllib_elmur.proof.automaton import PolicyAutomaton, trees_of
from rllib_elmur.proof.minimal import minimise
from rllib_elmur.proof.proof import Proof, weights_of
from rllib_elmur.proof.search import check_all_episodes

MAZE = TMazePassiveEnv().finite_task()


def proof_of(network, task):
    certificate = check_all_episodes(network, task, max_states=10_000)
    assert certificate.verdict == "proven"
    return Proof(network, certificate)


def anything_goes(task):
    return task._replace(correct=np.ones_like(task.correct))


@pytest.fixture(scope="module")
def maze_proof():
    return proof_of(proven(**CASES[5]), MAZE)


@pytest.fixture
def file(maze_proof, tmp_path):
    path = tmp_path / "proof.npz"
    maze_proof.save(path)
    return path


def uncertain():
    content = torch.ones(8)
    content[:3] = 2e-6
    return policy(content=content)


def categories():
    config = ELMURConfig(**{**PAPER, "memory_levels": 3}, d_model=8, d_ff=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = PolicyNetwork(gymnasium.spaces.MultiDiscrete([2, 3], start=[0, 5]), 3, config)
    with torch.no_grad():
        network.pi.bias.copy_(torch.tensor([4.0, 0.0, 0.0]))
    return network


CATEGORIES = task_of([(0, 0, [0], 0), (0, 1, [0], 0)], actions=3)._replace(
    observation=np.array([[0, 5], [1, 7]])
)
ENDING = task_of([(0, -1.0, [0], 1), (0, 1.0, [0], 1), (1, 0.0, [0], 2), (2, 1.0, [0], END)])
PROOFS = {
    "a maze": lambda: proof_of(proven(**CASES[1]), MAZE),
    "both ways": lambda: proof_of(uncertain(), FOREVER),
    "three slots": lambda: proof_of(
        with_content_by_sight(policy(memory_slots=3), -0.5, 0.5), TWO_SIGHTS
    ),
    "three levels, two layers": lambda: proof_of(
        policy(content=0.0, memory_levels=3, n_layers=2, memory_slots=3), FOREVER
    ),
    "norms first, blended": lambda: proof_of(
        policy(n_layers=2, memory_slots=2, norm_first=True, lru_blend=0.6, segment_length=2),
        task_of([(0, -1.0, [0], 0), (0, 1.0, [0], 0)]),
    ),
    "written before read": lambda: proof_of(
        policy(n_layers=2, memory_slots=2, write_before_read=True),
        task_of([(0, -1.0, [0], 0), (0, 1.0, [0], 0)]),
    ),
    "categories": lambda: proof_of(categories(), CATEGORIES),
    "an end within the segment": lambda: proof_of(policy(segment_length=2), ENDING),
}


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_is_accepted(name, tmp_path):
    proof = PROOFS[name]()
    proof.save(tmp_path / "proof.npz")
    assert check.verify(tmp_path / "proof.npz") == proof.digest


WITHOUT = """
import runpy, sys
class Without:
    def find_spec(self, name, *args):
        if name.split(".")[0] in ("torch", "rllib_elmur", "ray", "gymnasium"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_it_is_checked_without_this_package_and_without_torch(file, maze_proof):
    words = [sys.executable, "-I", "-c", WITHOUT, check.__file__, str(file)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"proven for every length, with the weights {maze_proof.digest}\n"


def test_the_checker_can_be_read():
    text = Path(check.__file__).read_text()
    assert len(text.splitlines()) <= 150
    imports = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert names <= {*sys.stdlib_module_names, "numpy"}


def with_weight(given, seed):
    """Another weight: one that every answer or every write hangs on."""
    names = sorted(k for k in given if k.startswith("weight/") and k.endswith("weight"))
    hung = [n for n in names if any(part in n for part in ("pi.", "hidden", "projection", "after"))]
    name = hung[seed % len(hung)]
    changed = given[name] + np.random.default_rng(seed).normal(size=given[name].shape)
    given[name] = changed.astype(np.float32) * 3
    with_digest(given)


def with_head(given, factor):
    """The policy head scaled: by a positive factor, it prefers the same actions."""
    for name in ("weight/pi.weight", "weight/pi.bias"):
        given[name] = given[name] * np.float32(factor)
    with_digest(given)


def with_digest(given):
    """The digest of changed weights."""
    weights = {k.removeprefix("weight/"): a for k, a in given.items() if k.startswith("weight/")}
    parts = (f"{k}{weights[k].shape}".encode() + weights[k].tobytes() for k in sorted(weights))
    given["digest"] = check.hashlib.sha256(b"".join(parts)).hexdigest()


def with_state(given, seed):
    """Another memory in a state that some segment leads to."""
    state = int(np.flatnonzero(given["state"][:, 1])[seed % 2])
    flat = given["memory"][state].reshape(-1)
    flat[seed % len(flat)] *= -1


def with_answer(given, seed):
    """Another answer, where one action only is correct."""
    given["answers"][(97 * seed) % len(given["answers"])] ^= 1


REJECTED = r"not proven: (an answer|a segment) after state"
CHANGES = [
    (with_head, -1),
    *((change, seed) for change in (with_state, with_answer) for seed in range(7)),
]


@pytest.mark.parametrize(("change", "seed"), CHANGES)
def test_a_proof_with_something_else_in_it_is_rejected(change, seed, file):
    given = dict(np.load(file))
    change(given, seed)
    np.savez(file, **given)
    with pytest.raises(ValueError, match=REJECTED):
        check.verify(file)


def test_weights_that_are_as_right_are_accepted(file):
    given = dict(np.load(file))
    with_head(given, 2)
    np.savez(file, **given)
    assert check.verify(file) == given["digest"]


def test_no_weights_are_accepted_that_are_wrong(file):
    whole, network, n_wrong = dict(np.load(file)), copy.deepcopy(proven(**CASES[5])), 0
    for seed in range(9):
        given = dict(whole)
        with_weight(given, seed)
        weights = {k.removeprefix("weight/"): given[k] for k in given if k.startswith("weight/")}
        network.load_state_dict(
            {k: torch.as_tensor(weights.get(k, v)) for k, v in network.state_dict().items()}
        )
        if check_all_episodes(network, MAZE, max_states=10_000).verdict == "refuted":
            n_wrong += 1
            np.savez(file, **given)
            with pytest.raises(ValueError, match=REJECTED):
                check.verify(file)
    assert n_wrong


def test_weights_of_another_digest_are_rejected(file):
    given = dict(np.load(file))
    given["weight/pi.bias"] = given["weight/pi.bias"] + np.float32(1e-6)
    np.savez(file, **given)
    with pytest.raises(ValueError, match="the weights have another digest"):
        check.verify(file)


def test_a_proof_without_the_start_or_a_state_or_a_transition_is_rejected(file):
    given = dict(np.load(file))
    for name, kept in (("start", [1]), ("transitions", slice(1, None))):
        np.savez(file, **{**given, name: given[name][kept] if name != "start" else np.array(kept)})
        with pytest.raises(ValueError, match="not proven"):
            check.verify(file)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_layers=st.integers(1, 2),
    memory_slots=st.integers(1, 3),
    segment_length=st.integers(1, 3),
    memory_levels=st.sampled_from([2, 3, 4, 5]),
    norm_first=st.booleans(),
    write_before_read=st.booleans(),
    rotate_distances=st.booleans(),
    read_empty_slots=st.booleans(),
    mark_start=st.booleans(),
    lru_blend=st.sampled_from([0.3, 1.0]),
    written=st.integers(0, 3),
)
def test_the_checker_computes_what_the_policy_does(seed, written, **options):
    network = policy(**options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    config, task = network.elmur.config, TWO_SIGHTS
    slots, written = config.memory_slots, min(written, config.memory_slots)
    (tree,) = trees_of(task, config.segment_length)
    high = (config.memory_levels - 1) / (1 + config.memory_levels % 2)
    memory = torch.randint(-1, 2, (1, config.n_layers, slots, 8), generator=generator) * high
    memory[:, :, : slots - written] = 0
    automaton = PolicyAutomaton(network, torch.as_tensor(task.observation))
    logits, updates = automaton.run(tree, memory.float(), written)
    checked = check._Policy(weights_of(network), vars(config))
    found, writes = checked._run(task.observation, *tree, memory[0].numpy(), written)
    np.testing.assert_allclose(found, logits[0].numpy(), atol=2e-4)
    np.testing.assert_allclose(writes, updates[0].numpy(), atol=2e-4)
    low, _ = automaton.sides(updates)
    sure = (low == automaton.sides(updates)[1])[0]
    assert (checked._round(writes)[sure] == low[0][sure]).all()


def test_only_vectors_and_categories_are_written(tmp_path):
    config = ELMURConfig(**{**PAPER, "memory_levels": 2}, d_model=8, d_ff=8)
    network = PolicyNetwork(gymnasium.spaces.Box(0, 1, (3, 3)), 2, config)
    with torch.no_grad():
        network.pi.bias.copy_(torch.tensor([9.0, 0.0]))
    task = FOREVER._replace(observation=np.zeros((1, 3, 3), np.float32))
    with pytest.raises(UserError, match="those that ImageEncoder reads"):
        proof_of(network, anything_goes(task)).save(tmp_path / "proof.npz")


def test_a_maze_needs_its_two_hints_and_no_more(maze_proof):
    memory = minimise(maze_proof)
    assert len(memory.remembering) == memory.needed == 2


def test_what_makes_no_difference_is_not_remembered():
    network = with_content_by_sight(policy(memory_slots=3), -0.5, 0.5)
    memory = minimise(proof_of(network, TWO_SIGHTS))
    assert len(memory.kind) == 15 and len(memory.remembering) == memory.needed == 1


def test_kinds_are_the_behaviours_that_differ():
    """By brute force: what is answered in the next segments, whatever is seen."""
    task = anything_goes(MAZE)
    proof = proof_of(trained(**{**CASES[2], "seed": 3}), task)
    following = {}
    for state, leaf, after in proof.transitions.tolist():
        following.setdefault(state, {}).setdefault(leaf, []).append(after)
    sights = [(task.observation[t.symbol].tobytes(), t.path.tobytes()) for t in proof.trees]
    seen = [sights[situation] for situation in proof.states.situation]
    behaviour = list(zip(seen, map(bytes, proof.answers), strict=True))
    for _ in range(6):
        behaviour = [
            hash((own, *(
                (leaf, *sorted({behaviour[after] for after in afters}))
                for leaf, afters in sorted(following.get(state, {}).items())
            )))
            for state, own in enumerate(behaviour)
        ]  # fmt: skip
    memory = minimise(proof)
    assert 3 < len(set(behaviour)) == memory.kind.max() + 1 < len(proof.answers)
    assert len(set(zip(behaviour, memory.kind.tolist(), strict=True))) == len(set(behaviour))


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_delay_needs_what_is_on_its_way(delay):
    """At each step the answer is the bit of `delay` steps ago; each is 0 at the start."""
    edges = [
        (kept, float(bit), [kept >> (delay - 1)], (kept << 1 | bit) % 2**delay)
        for kept in range(2**delay)
        for bit in (0, 1)
    ]
    task = task_of(edges)
    closed = proof_of(policy(), anything_goes(task))
    closed.task = task
    assert minimise(closed).needed == 2**delay


@pytest.mark.parametrize("lead", [1.0, 5.0])
def test_the_chance_of_a_wrong_action_that_is_drawn_is_that_of_the_softmax(lead):
    certificate = check_all_episodes(policy(answer=(lead, 0.0)), FOREVER, max_states=10)
    assert certificate.chance == pytest.approx(1 / (1 + np.exp(lead)), rel=1e-3)
    assert certificate.chance > 1 / (1 + np.exp(lead))
    task = anything_goes(FOREVER)
    assert check_all_episodes(policy(answer=(lead, 0.0)), task, max_states=10).chance == 0.0
