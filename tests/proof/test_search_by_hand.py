"""What the search must not leave out, on policies whose weights are set by hand."""

import gymnasium
import numpy as np
import pytest
import torch

from rllib_elmur.config import PAPER, ELMURConfig
from rllib_elmur.envs import END, FiniteTask
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof.automaton import PolicyAutomaton, SegmentTree
from rllib_elmur.proof.search import check_all_episodes

D = 8


def task_of(edges, start=(0,), actions=2):
    """A task of edges (source, what is seen, correct actions, target)."""
    source, seen, correct, target = zip(*edges, strict=True)
    return FiniteTask(
        start=np.array(start),
        source=np.array(source),
        observation=np.array(seen, dtype=np.float32)[:, None],
        correct=np.array([np.isin(np.arange(actions), right) for right in correct]),
        target=np.array(target),
    )


def policy(answer=(1.0, 0.0), content=1.0, **options):
    """A policy that always has these logits, and that writes the same content in every slot."""
    options = {"segment_length": 1, "memory_slots": 1, "memory_levels": 2, **options}
    config = ELMURConfig(
        **{**PAPER, "n_layers": 1, "n_heads": 2, "lru_blend": 1.0, **options}, d_model=D, d_ff=8
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PolicyNetwork(gymnasium.spaces.Box(-1, 1, (1,)), len(answer), config)
    with torch.no_grad():
        network.pi.weight.zero_()
        network.pi.bias.copy_(torch.tensor(answer))
        for layer in network.elmur.layers:
            # The last norm before rounding: its weight scales what is written, its bias adds to it.
            norm = layer.memory_norm if config.norm_first else layer.memory_ffn_residual.after
            norm.weight.zero_()
            norm.bias.copy_(torch.as_tensor(content).expand(D))
    return network


FOREVER = task_of([(0, 0.0, [0], 0)])
TWO_SIGHTS = task_of([(0, -1.0, [0], 0), (0, 1.0, [0], 0)])
UNCERTAIN = 5e-6  # closer to the boundary of two levels than the search trusts


def memories(network, task):
    """How many pairs of a memory and a situation there are, in a task without wrong answers."""
    task = task._replace(correct=np.ones_like(task.correct))
    certificate = check_all_episodes(network, task, max_states=10_000)
    assert certificate.verdict == "proven"
    return certificate.states


def what_is_read_of_one_slot(network):
    """Features while the slot is empty, and when it was written, of a memory of zeros."""
    automaton = PolicyAutomaton(network, torch.zeros(1, 1))
    tree, blank = SegmentTree.grow([0], [[0]], 1), torch.zeros(1, 1, 1, D)
    head = network.pi
    network.pi = torch.nn.Identity()
    features = [automaton.run(tree, blank, written)[0][0, 0] for written in (0, 1)]
    network.pi = head
    return features


@pytest.mark.parametrize(("lead", "verdict"), [(5e-5, "refuted"), (2e-4, "proven")])
def test_an_answer_that_is_hardly_ahead_is_wrong(lead, verdict):
    certificate = check_all_episodes(policy(answer=(lead, 0.0)), FOREVER, max_states=10)
    assert certificate.verdict == verdict
    assert certificate.gap == pytest.approx(lead)


def test_of_the_earliest_wrong_answers_the_clearest_is_shown():
    network = policy(answer=(0.0, 1.0, 5.0))
    little, much = (0, -1.0, [1], 0), (0, 1.0, [0], 0)  # wrong by 4, and by 5
    for edges in ([little, much], [much, little]):
        certificate = check_all_episodes(network, task_of(edges, actions=3), max_states=10)
        assert certificate.verdict == "refuted"
        assert [edges[edge] for edge in certificate.counterexample] == [much]


def test_an_empty_slot_is_not_one_that_holds_zeros():
    network = policy(content=0.0, memory_levels=3)
    empty, zeros = what_is_read_of_one_slot(network)
    with torch.no_grad():  # action 0 as long as the slot is empty, then action 1
        toward = (empty - zeros) / (empty - zeros).norm()
        network.pi.weight[0] = toward
        network.pi.bias.copy_(torch.tensor([-toward @ (empty + zeros) / 2, 0.0]))
    certificate = check_all_episodes(network, FOREVER, max_states=10)
    assert certificate.verdict == "refuted" and len(certificate.counterexample) == 2
    assert memories(network, FOREVER) == 2


def test_two_layers_of_slots_that_fill_one_after_the_other_are_counted_once_each():
    network = policy(content=0.0, memory_levels=3, n_layers=2, memory_slots=3)
    assert memories(network, FOREVER) == 4  # none, one, two or three slots are written


def test_a_value_near_a_boundary_is_followed_up_and_down():
    content = torch.ones(D)
    content[:3] = UNCERTAIN
    assert memories(policy(content=content), FOREVER) == 1 + 2**3
    content[:3] = 10 * UNCERTAIN
    assert memories(policy(content=content), FOREVER) == 1 + 1


def test_more_values_near_a_boundary_than_can_be_followed_leave_it_undecided():
    network = policy(content=UNCERTAIN, n_layers=2)  # 16 values
    assert check_all_episodes(network, FOREVER, max_states=10**6).verdict == "undecided"


def with_content_by_sight(network, low, high):
    """Lets the first value written be `low` where -1 was seen, and `high` where 1 was seen.

    It is so whatever the slots hold: tokens do not read, and what is written outweighs the rest.
    """
    layer = network.elmur.layers[0]
    norm = layer.memory_ffn_residual.after
    with torch.no_grad():
        network.encoder.projection.weight.mul_(1e3)
        for weight in (layer.mem2tok.out.weight, layer.tok2mem.query.weight):
            weight.zero_()
        layer.tok2mem.out.weight.mul_(1e6)
        norm.weight[0], norm.bias[0] = 1.0, 0.0
        automaton = PolicyAutomaton(network, torch.tensor([[-1.0], [1.0]]))
        tree = SegmentTree.grow([0, 1], [[0, 1]] * 2, 1)
        blank = torch.zeros(1, 1, network.elmur.config.memory_slots, D)
        before, after = automaton.run(tree, blank, 0)[1][0, :, 0, 0].tolist()
        norm.weight[0] = (high - low) / (after - before)
        norm.bias[0] = low - norm.weight[0] * before
    return network


def test_what_is_near_a_boundary_after_one_sight_alone_is_followed():
    task = task_of([(0, -1.0, [0], 1), (0, 1.0, [0], 1), (1, 0.0, [0], END)])
    assert memories(with_content_by_sight(policy(), -0.5, -UNCERTAIN), task) == 1 + 2
    assert memories(with_content_by_sight(policy(), -0.5, -0.25), task) == 1 + 1
    assert memories(with_content_by_sight(policy(), -0.5, 0.5), task) == 1 + 2


def test_one_memory_in_two_situations_is_two_states():
    task = task_of([(0, -1.0, [0], 1), (0, 1.0, [0], 2), (1, 0.0, [0], END), (2, 0.0, [1], END)])
    assert memories(policy(), task) == 3
    assert check_all_episodes(policy(), task, max_states=10).verdict == "refuted"


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_what_was_written_before_is_part_of_a_memory(slots):
    network = with_content_by_sight(policy(memory_slots=slots), -0.5, 0.5)
    assert memories(network, TWO_SIGHTS) == 2 ** (slots + 1) - 1


def test_every_start_is_a_start():
    task = task_of([(0, 0.0, [0], 0), (1, 1.0, [1], 1)], start=(0, 1))
    certificate = check_all_episodes(policy(), task, max_states=10)
    assert certificate.verdict == "refuted" and certificate.counterexample.tolist() == [1]


def test_any_of_several_correct_actions_will_do():
    task = task_of([(0, 0.0, [0, 2], 0)], actions=3)
    certificate = check_all_episodes(policy(answer=(3.0, 1.0, 0.0)), task, max_states=10)
    assert certificate.verdict == "proven" and certificate.gap == 2.0


def test_of_wrong_answers_in_one_segment_the_earliest_is_told():
    # By one way it goes wrong in the third step of the segment, by the other in the second.
    edges = [(0, 0.0, [0], 1), (0, 1.0, [0], 2), (1, 0.0, [0], 3), (3, 0.0, [1], END)]
    edges += [(2, 0.0, [1], END)]
    for order in (edges, [edges[1], edges[0], *edges[2:]]):
        task = task_of(order)
        found = check_all_episodes(policy(segment_length=4), task, max_states=10)
        seen = task.observation[found.counterexample][:, 0].tolist()
        assert found.verdict == "refuted" and seen == [1.0, 0.0]


def test_of_wrong_answers_in_several_chunks_the_earliest_is_told():
    # Two starts, each a chunk of its own; the later one goes wrong sooner.
    edges = [(0, 0.0, [0], 2), (2, 0.0, [1], END), (1, 1.0, [1], END)]
    found = check_all_episodes(
        policy(segment_length=3), task_of(edges, start=(0, 1)), max_states=10
    )
    assert found.verdict == "refuted" and found.counterexample.tolist() == [2]


def test_the_smallest_gap_is_that_of_all_answers():
    # Seen 1: ahead by less; what comes after it in other chunks is ahead by more.
    network = policy()
    with torch.no_grad():
        network.pi.weight[0] = 0.1 * torch.linspace(-1, 1, D)
    gaps = [
        check_all_episodes(network, task_of([(0, seen, [0], END)]), max_states=10).gap
        for seen in (-1.0, 1.0)
    ]
    both = task_of([(0, -1.0, [0], END), (1, 1.0, [0], END)], start=(0, 1))
    assert gaps[0] != gaps[1]
    assert check_all_episodes(network, both, max_states=10).gap == pytest.approx(min(gaps))
    both = both._replace(observation=both.observation[::-1].copy())
    assert check_all_episodes(network, both, max_states=10).gap == pytest.approx(min(gaps))


def test_answers_and_transitions_are_counted():
    certificate = check_all_episodes(policy(), TWO_SIGHTS, max_states=10)
    # Blank and written: from each of two states, two sights to answer and to write.
    assert (certificate.states, certificate.answers, certificate.transitions) == (2, 4, 4)
