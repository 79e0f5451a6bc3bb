"""The search against brute force: every episode up to a length, run in the real environment."""

from functools import cache
from itertools import product

import gymnasium
import numpy as np
import pytest
import torch

from rllib_elmur.config import PAPER, ELMURConfig
from rllib_elmur.envs import END, TMazePassiveEnv
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof.search import check_all_episodes

LONGEST = 5


def scripts(task, steps):
    """All paths of a task with at most so many steps that have an end, or exactly so many."""
    paths = [[edge] for edge in np.flatnonzero(np.isin(task.source, task.start))]
    for _ in range(steps):
        yield from (p for p in paths if len(p) == steps or task.target[p[-1]] == END)
        paths = [
            [*path, edge]
            for path in paths
            if task.target[path[-1]] != END
            for edge in np.flatnonzero(task.source == task.target[path[-1]])
        ]


def actions_of(network, task, paths):
    """What a policy does along paths of one length, (P, T)."""
    observations = torch.as_tensor(task.observation[np.asarray(paths)])
    with torch.no_grad():
        features, _ = network(observations, network.elmur.initial_state(len(paths)))
        return network.pi(features).argmax(-1).numpy()


@cache
def trained(seed, steps, longest, **options):
    """A tiny policy, taught by imitation on all corridors up to a length."""
    task = TMazePassiveEnv().finite_task()
    paths = list(scripts(task, longest + 1))
    size = max(map(len, paths))
    lengths = torch.tensor([len(path) for path in paths])
    padded = np.array([path + [0] * (size - len(path)) for path in paths])
    valid = torch.arange(size) < lengths[:, None]
    correct = torch.from_numpy(task.correct[padded].argmax(-1))
    weight = torch.where(torch.from_numpy(task.observation[padded][..., 2]) > 0, 5.0, 1.0) * valid
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ELMURConfig(
            **{**PAPER, "n_layers": 1, "n_heads": 2, "memory_levels": 2, **options},
            d_model=8,
            d_ff=16,
        )
        network = PolicyNetwork(gymnasium.spaces.Box(-1, 1, (4,)), 4, config)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(steps):
            chosen = torch.randint(0, len(paths), (256,))
            features, _ = network(
                torch.as_tensor(task.observation[padded[chosen]]),
                network.elmur.initial_state(256),
                lengths[chosen],
            )
            loss = torch.nn.functional.cross_entropy(
                network.pi(features).flatten(0, 1), correct[chosen].flatten(), reduction="none"
            )
            optimizer.zero_grad()
            (loss * weight[chosen].flatten()).mean().backward()
            optimizer.step()
    return network


@cache
def proven(seed, **options):
    """The first tiny policy, from this seed on, that is right in every episode.

    Which seeds do depends on how a processor rounds.
    """
    task = TMazePassiveEnv().finite_task()
    for each in range(seed, seed + 30):
        network = trained(each, **options)
        if check_all_episodes(network, task, max_states=10_000).verdict == "proven":
            return network
    raise AssertionError(f"no policy of 30 seeds is right in every episode: {options}")


def first_wrong_step(network, env, task, steps):
    """The earliest step at which any episode of at most so many steps goes wrong, or None."""
    wrong = set()
    for length in range(2, steps + 1):  # no episode is over sooner
        paths = [path for path in scripts(task, steps) if len(path) == length]
        for path, actions in zip(paths, actions_of(network, task, paths), strict=True):
            observation, _ = env.reset(seed=0, options={"script": task.observation[path]})
            for step, (edge, action) in enumerate(zip(path, actions, strict=True)):
                assert (observation == task.observation[edge]).all()
                if not task.correct[edge, action]:
                    wrong.add(step + 1)
                    break
                observation, _, ended, _, info = env.step(action)
                assert not ended or (step + 1 == length and info["success"])
    return min(wrong, default=None)


CASES = [
    {"seed": 0, "steps": 20, "longest": 2, "segment_length": 2, "memory_slots": 1},
    {"seed": 13, "steps": 150, "longest": 2, "segment_length": 2, "memory_slots": 1},
    {"seed": 2, "steps": 150, "longest": 2, "segment_length": 2, "memory_slots": 2},
    {"seed": 21, "steps": 400, "longest": 3, "segment_length": 2, "memory_slots": 1},
    {"seed": 28, "steps": 400, "longest": 5, "segment_length": 2, "memory_slots": 2},
    {"seed": 5, "steps": 400, "longest": 4, "segment_length": 3, "memory_slots": 1},
    {"seed": 6, "steps": 60, "longest": 3, "segment_length": 1, "memory_slots": 1},
    {"seed": 20, "steps": 150, "longest": 3, "segment_length": 1, "memory_slots": 2},
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"seed {case['seed']}")
def network(request):
    return trained(**request.param)


def test_the_verdict_is_that_of_every_episode_run(network):
    env = TMazePassiveEnv()
    task = env.finite_task()
    certificate = check_all_episodes(network, task, max_states=3000)
    wrong = first_wrong_step(network, env, task, LONGEST + 1)
    match certificate.verdict:
        case "proven":
            assert wrong is None
        case "refuted":
            path = certificate.counterexample
            assert wrong == (len(path) if len(path) <= LONGEST + 1 else None)
            correct = task.correct[path, actions_of(network, task, [path])[0]]
            assert correct[:-1].all() and not correct[-1]
        case _:
            pytest.fail("tiny policies close")


def test_it_finds_every_memory_that_an_episode_leads_to_and_no_other(network):
    task = TMazePassiveEnv().finite_task()
    # Every action is correct: the search sees every memory, whatever the policy answers.
    task = task._replace(correct=np.ones_like(task.correct))
    certificate = check_all_episodes(network, task, max_states=10**6)
    length = network.elmur.config.segment_length
    assert certificate.verdict == "proven"
    found = {(0, 0, b"")}
    for steps in range(length, 11, length):
        noise = np.array(list(product((-1, 0, 1), repeat=min(steps, 6))), dtype=np.float32)
        noise = np.concatenate([noise[:, :0], np.repeat(noise, -(-steps // 6), 1)[:, :steps]], 1)
        for hint in (-1, 1):
            observation = np.zeros((len(noise), steps, 4), np.float32)
            observation[:, 0, 1], observation[:, :, 3] = hint, noise
            with torch.no_grad():
                _, state = network(
                    torch.from_numpy(observation), network.elmur.initial_state(len(noise))
                )
            order = state.anchors.argsort(dim=-1, stable=True)[..., None].expand_as(state.memory)
            memory = state.memory.gather(2, order).numpy().astype(np.int8)
            written = min(steps // length, network.elmur.config.memory_slots)
            found |= {(hint, written, row.tobytes()) for row in memory}
    # What sampling reaches in ten steps is at most what the search reached in any number of them.
    assert 1 < len(found) <= certificate.states


def test_a_wrong_answer_that_comes_late_is_found_with_the_shortest_way_to_it():
    network = proven(**CASES[1])
    task = TMazePassiveEnv().finite_task()
    assert check_all_episodes(network, task, max_states=100).verdict == "proven"
    # The same maze, unrolled: from time 5 on, the other turn is called correct.
    late, size = 5, task.source.max() + 1
    unrolled = [
        (
            time * size + task.source[edge],
            edge,
            END if task.target[edge] == END else min(time + 1, late) * size + task.target[edge],
            task.correct[edge][[0, 3, 2, 1]] if time == late else task.correct[edge],
        )
        for time in range(late + 1)
        for edge in range(len(task.source))
    ]
    source, edge, target, correct = map(np.array, zip(*unrolled, strict=True))
    other = task._replace(
        source=source, target=target, correct=correct, observation=task.observation[edge]
    )
    certificate = check_all_episodes(network, other, max_states=100)
    path = certificate.counterexample
    assert certificate.verdict == "refuted" and len(path) == late + 1
    assert (other.target[path[:-1]] == other.source[path[1:]]).all()
    assert (other.observation[path, 2] == [0] * late + [1]).all()


def test_a_memory_that_does_not_close_is_undecided():
    network, task = trained(**CASES[4]), TMazePassiveEnv().finite_task()
    task = task._replace(correct=np.ones_like(task.correct))
    assert check_all_episodes(network, task, max_states=2).verdict == "undecided"
