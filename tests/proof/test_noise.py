"""Verdicts under noise that is a real number."""

import copy

import gymnasium
import numpy as np
import pytest
import torch
from test_search import actions_of, trained

from rllib_elmur.config import PAPER, ELMURConfig
from rllib_elmur.envs import FiniteTask, TMazePassiveEnv
from rllib_elmur.errors import UserError
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.proof.certify import _require_bounds
from rllib_elmur.proof.description import finite_task_of
from rllib_elmur.proof.proof import Proof
from rllib_elmur.proof.search import check_all_episodes

MOST = 3000


def task_of(noise_bound):
    return TMazePassiveEnv(noise_bound=noise_bound).finite_task()


@pytest.fixture(scope="module")
def network():
    """A policy that answers all corridors, taught with noise of -1, 0 and 1."""
    return trained(seed=28, steps=400, longest=5, segment_length=2, memory_slots=2)


def wrong_answers(network, noise_bound, n_episodes, length):
    """Of episodes of one length with noise drawn from its bounds, half of it from their ends."""
    env = TMazePassiveEnv(corridor_length=length, noise_bound=noise_bound)
    wrong = 0
    for seed in range(n_episodes):
        observation, _ = env.reset(seed=seed)
        state, ended = network.elmur.initial_state(1), False
        draw = np.random.default_rng(seed)
        while not ended:
            if seed % 2:
                observation[-1] = draw.choice([-1, 1]) * noise_bound
            features, state = network(torch.as_tensor(observation)[None, None], state)
            action = int(network.pi(features).argmax())
            observation, _, ended, _, info = env.step(action)
        wrong += not info["success"]
    return wrong


@torch.no_grad()
def test_what_is_proven_of_all_noise_is_so_in_every_episode(network):
    proven = [
        (bound, certificate.pieces)
        for bound in (1e-4, 1e-3, 1e-2)
        if (certificate := check_all_episodes(network, task_of(bound), MOST)).verdict == "proven"
    ]
    assert proven and proven[0] == (1e-4, 1)
    for bound, _ in proven:
        assert all(wrong_answers(network, bound, 20, length) == 0 for length in (1, 2, 7, 40))


def test_noise_that_bounds_cannot_follow_is_undecided(network):
    verdicts = {
        bound: check_all_episodes(network, task_of(bound), max_states=200) for bound in (0.3, 1.0)
    }
    assert all(v.verdict == "undecided" and v.pieces > 1 for v in verdicts.values())


def test_what_is_refuted_is_an_episode_with_a_wrong_answer(network):
    wrong = copy.deepcopy(network)
    with torch.no_grad():
        wrong.pi.bias[3] += 100  # it always turns down
    certificate = check_all_episodes(wrong, task_of(0.1), MOST)
    assert certificate.verdict == "refuted"
    path, task = certificate.counterexample, certificate.task
    actions = actions_of(wrong, task, [path])[0]
    assert not task.correct[path, actions][-1]


def test_a_proof_under_noise_is_no_file(network, tmp_path):
    certificate = check_all_episodes(network, task_of(1e-4), MOST)
    proof = Proof(network, certificate)
    assert (proof.answers[0] == certificate.task.correct.argmax(-1)[proof.trees[0].symbol]).all()
    with pytest.raises(UserError, match="computes with points"):
        proof.save(tmp_path / "proof.npz")


@pytest.mark.parametrize("bound", [0.1, 1.0])
def test_a_description_whose_spread_is_too_small_is_not_true(bound):
    class Tighter(TMazePassiveEnv):
        def finite_task(self) -> FiniteTask:
            task = super().finite_task()
            return task._replace(spread=task.spread / 2)

    finite_task_of(TMazePassiveEnv(corridor_length=[1, 4], noise_bound=bound))
    with pytest.raises(UserError, match="which the environment shows in step"):
        finite_task_of(Tighter(corridor_length=[1, 4], noise_bound=bound))


def test_a_spread_of_nothing_is_none(network):
    task = task_of(0.1)._replace(spread=np.zeros(4))
    certificate = check_all_episodes(network, task, MOST)
    assert certificate.pieces is None and certificate.task.spread is None
    assert (
        certificate.verdict == check_all_episodes(network, task._replace(spread=None), MOST).verdict
    )


@pytest.mark.parametrize("bound", [None, 0.1])
def test_a_policy_that_computes_no_numbers_is_not_proven(network, bound):
    for broken in ("pi", "encoder"):
        wrong = copy.deepcopy(network)
        with torch.no_grad():
            next(getattr(wrong, broken).parameters()).fill_(torch.nan)
        certificate = check_all_episodes(wrong, task_of(bound), MOST)
        assert certificate.verdict != "proven" and certificate.gap == -np.inf
        assert certificate.chance == 1.0


@pytest.mark.parametrize("spread", [0.1, [0.1] * 3, [0, 0, 0, -0.1], [0, 0, 0, np.nan]])
def test_a_spread_that_is_none_is_refused(spread):
    class Wrong(TMazePassiveEnv):
        def finite_task(self) -> FiniteTask:
            return super().finite_task()._replace(spread=np.array(spread))

    with pytest.raises(UserError, match=r"Wrong has spread=.*: must be numbers >= 0 of .* \(4,\)"):
        finite_task_of(Wrong())


def test_bounds_are_known_of_vectors_only():
    space = gymnasium.spaces.Discrete(3)
    network = PolicyNetwork(space, 4, ELMURConfig(**{**PAPER, "memory_levels": 2}))
    with pytest.raises(UserError, match="for vectors only, not for what CategoryEncoder reads"):
        _require_bounds(network, task_of(0.1))
    _require_bounds(network, task_of(None))


@pytest.mark.parametrize("kind", ["TMazePassive", "TMazeRune", "TMazeEndless", "TMazeMultiCue"])
def test_noise_is_a_real_number_within_its_bound(kind):
    options = {"corridor_length": 5} if kind != "TMazeMultiCue" else {}
    env = gymnasium.make(f"rllib_elmur/{kind}-v0", noise_bound=0.25, **options)
    observation, _ = env.reset(seed=3)
    noise = [observation[-1]]
    for _ in range(4):
        observation, _, ended, _, _ = env.step(0)
        noise.append(observation[-1])
        if ended:
            observation, _ = env.reset()
    assert len(set(map(float, noise))) == 5 and 0.02 < np.abs(noise).max() <= 0.25 + 1e-7
    finite_task_of(env)
    with pytest.raises(ValueError, match="noise_bound=2: must be a finite number"):
        gymnasium.make(f"rllib_elmur/{kind}-v0", noise_bound=2, **options)
