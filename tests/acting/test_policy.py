"""A loaded policy acts as RLlib does, for every kind of space, connector and module."""

from typing import Any, ClassVar

import numpy as np
import pytest
import tree
from acting_helpers import (
    Logged,
    Logs,
    assert_acts_alike,
    assert_close,
    assert_survives_saving,
    copied,
    replayed,
    rllibs_episodes,
)
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import SyncVectorEnv
from plugin_helpers import BOTH, SMALL, Doubled, elmur_ppo, ppo
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner
from test_action_mask import MASKS, MaskedEnv
from test_spaces import MORE, PAIRS

import rllib_elmur
from rllib_elmur.acting.connectors import ConnectorActor
from rllib_elmur.acting.policy import PlainActor
from rllib_elmur.errors import UserError
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

LENGTHS = {"lengths": [1, 7, 12]}
BOX = {"action": Box(-2, 3, (2,)), "lengths": [30]}


class Masked(Logs, MaskedEnv):
    """One that masks actions."""

    episodes: ClassVar[list[dict[str, Any]]] = []


def env_config(pair: Any) -> dict[str, Any]:
    return LENGTHS | dict(zip(("observation", "action"), pair, strict=True))


def behind(*makers: Any, **options: Any) -> Any:
    """A config whose observations go through connectors."""
    env = options.pop("env", LENGTHS)
    config = ppo(Logged, env).env_runners(
        env_to_module_connector=lambda env, spaces, device: [make() for make in makers]
    )
    return rllib_elmur.use_elmur(config, **{**SMALL, **options})


@pytest.mark.parametrize("pair", PAIRS | MORE)
def test_it_acts_as_rllib_does_in_all_spaces(pair: str, saved: Any) -> None:
    path, algo = saved(elmur_ppo(Logged, env_config((PAIRS | MORE)[pair])))
    policy, episodes = rllib_elmur.load_policy(path), rllibs_episodes(algo)
    assert_acts_alike(policy, episodes)
    assert_survives_saving(policy, episodes, path / "saved")


@pytest.mark.parametrize("options", [{}, BOTH])
@pytest.mark.parametrize("kind", MASKS)
def test_it_takes_no_action_that_is_masked(kind: str, options: Any, saved: Any) -> None:
    action, mask = MASKS[kind]
    config = elmur_ppo(Masked, {"action": action, "mask": mask}, action_mask=True, **options)
    path, algo = saved(config)
    policy = rllib_elmur.load_policy(path)
    episodes = rllibs_episodes(algo, env=Masked)
    assert_acts_alike(policy, episodes)
    assert_survives_saving(policy, episodes, path / "saved")
    seen = copied(Masked.episodes[-1]["observations"][-1])  # which allows nothing
    with pytest.raises(ValueError, match=r"action_mask'\] forbids every action"):
        policy.act(seen, 0.0)
    policy.act(seen, 0.0, ended=True)


@pytest.mark.parametrize("pair", PAIRS)
def test_with_the_previous_step_too(pair: str, saved: Any) -> None:
    path, algo = saved(elmur_ppo(Logged, env_config(PAIRS[pair]), **BOTH))
    policy, episodes = rllib_elmur.load_policy(path), rllibs_episodes(algo)
    assert_acts_alike(policy, episodes)
    assert_survives_saving(policy, episodes, path / "saved")


MIXED = Dict({"b": Discrete(3), "a": Box(-9, 9, (2, 2), np.float64), "c": PAIRS["Dict x Box"][0]})
IMAGE = {**LENGTHS, "observation": Box(-1, 1, (5, 5, 1))}
FRAMES = [lambda: FrameStackingEnvToModule(num_frames=3)]
CONNECTORS = {
    "filter": ([MeanStdFilter], {}, PlainActor),
    "filter of an image": ([MeanStdFilter], {"env": IMAGE}, PlainActor),
    "filter that only centres": (
        [lambda: MeanStdFilter(de_std_to_one=False, clip_by_value=0.5)],
        {},
        PlainActor,
    ),
    "flattened": ([FlattenObservations], {"env": {**LENGTHS, "observation": MIXED}}, PlainActor),
    "flattened, filter, previous": (
        [FlattenObservations, MeanStdFilter],
        {"env": {**LENGTHS, "observation": MIXED, "action": Box(-2, 3, (2,))}, **BOTH},
        PlainActor,
    ),
    "frames": (FRAMES, {"env": IMAGE}, ConnectorActor),
    "the user's own": ([Doubled, MeanStdFilter], BOTH, ConnectorActor),
}


@pytest.mark.parametrize("kind", CONNECTORS)
def test_it_acts_as_rllib_does_behind_connectors(kind: str, saved: Any) -> None:
    makers, options, actor = CONNECTORS[kind]
    config = behind(*makers, **options)
    if makers is FRAMES:
        config.learners(learner_connector=lambda obs, action: FrameStackingLearner(num_frames=3))
    path, algo = saved(config)
    policy = rllib_elmur.load_policy(path)
    assert isinstance(policy._actor, actor)
    episodes = rllibs_episodes(algo)
    assert_acts_alike(policy, episodes)
    if actor is PlainActor:
        assert_survives_saving(policy, episodes, path / "saved")
    else:
        name = "FrameStacking" if makers is FRAMES else "Doubled"
        with pytest.raises(UserError, match=f"cannot be saved: the connector {name} needs RLlib"):
            policy.save(path / "saved")


def test_rllibs_own_modules_act_too(saved: Any) -> None:
    for model in ({"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 10}, {}):
        path, algo = saved(
            ppo(Logged, LENGTHS).rl_module(model_config=model), f"lstm {bool(model)}"
        )
        assert_acts_alike(rllib_elmur.load_policy(path), rllibs_episodes(algo))


class Sure(rllib_elmur.ELMURTorchRLModule):
    """A class derived from ours, whose logits are other ones."""

    def _forward(self, batch: Any, **kwargs: Any) -> Any:
        outputs = super()._forward(batch, **kwargs)
        return outputs | {"action_dist_inputs": -outputs["action_dist_inputs"]}


def test_so_does_a_class_derived_from_elmurs(saved: Any) -> None:
    path, algo = saved(elmur_ppo(Logged, LENGTHS, module_class=Sure))
    policy = rllib_elmur.load_policy(path)
    assert_acts_alike(policy, rllibs_episodes(algo))
    with pytest.raises(UserError, match="cannot be saved: its module's class, Sure, needs RLlib"):
        policy.save(path / "saved")


EVERY = {
    "plain": lambda: elmur_ppo(Logged, LENGTHS, **BOTH),
    "derived": lambda: elmur_ppo(Logged, LENGTHS, module_class=Sure),
    "lstm": lambda: ppo(Logged, LENGTHS).rl_module(
        model_config={"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 10}
    ),
    "connectors": lambda: behind(Doubled, **BOTH),
}


@pytest.mark.parametrize("kind", EVERY)
def test_sessions_that_begin_go_on_and_end_at_any_time_do_not_touch_each_other(
    kind: str, saved: Any
) -> None:
    path, algo = saved(EVERY[kind]())
    logs = rllibs_episodes(algo, 8)
    assert_acts_alike(rllib_elmur.load_policy(path), logs)
    policy, random = rllib_elmur.load_policy(path), np.random.default_rng(0)
    waiting, running = list(logs), {}  # by row: an episode and its step
    while waiting or running:
        while waiting and len(running) < 3:
            row = next(row for row in range(3) if row not in running)
            running[row] = [waiting.pop(), 0]
            policy.reset([row])
        rows = random.permutation(sorted(running))[: random.integers(1, 4)].tolist()
        steps = [(running[row][0], running[row][1]) for row in rows]
        actions = policy.act(
            np.stack([log["observations"][t] for log, t in steps]),
            np.array([log["rewards"][t] for log, t in steps]),
            rows=rows,
        )
        for i, (row, (log, t)) in enumerate(zip(rows, steps, strict=True)):
            assert actions[i] == log["actions"][t]
            running[row][1] += 1
            if t + 1 == len(log["actions"]):
                del running[row]


def test_a_batch_acts_as_its_rows_do_alone(saved: Any) -> None:
    path, _ = saved(elmur_ppo(Logged, env_config(MORE["to Dict"]), **BOTH))
    policy, one = rllib_elmur.load_policy(path), rllib_elmur.load_policy(path)
    random = np.random.default_rng(0)
    seen, rewards = random.uniform(-1, 1, (9, 3, 2)).astype(np.float32), random.normal(size=(9, 3))
    begins = {4: [0, 2], 7: np.array([False, True, False])}  # rows by number, or by mask
    several = []
    for t in range(9):
        policy.reset(begins.get(t, []))
        several.append(policy.act(seen[t], rewards[t]))
    for row, ends in ((0, [4]), (1, [7]), (2, [4])):
        one.reset()
        for t in range(9):
            if t in ends:
                one.reset()
            alone = one.act(seen[t, row], rewards[t, row])
            assert_close(tree.map_structure(lambda x, row=row: x[row], several[t]), alone)


@pytest.mark.parametrize("kind", ["plain", "connectors"])
def test_in_environments_that_reset_themselves_rows_begin_anew(kind: str, saved: Any) -> None:
    path, _ = saved(EVERY[kind]())
    policy = rllib_elmur.load_policy(path)
    envs = SyncVectorEnv([lambda: Logged(LENGTHS)] * 3)
    Logged.episodes.clear()
    (observations, _), rewards, ended = envs.reset(seed=1), np.zeros(3), np.zeros(3, bool)
    for _ in range(60):
        actions = policy.act(observations, rewards, ended=ended)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        ended = terminated | truncated
    assert len(Logged.episodes) > 12
    assert_acts_alike(rllib_elmur.load_policy(path), Logged.episodes)


def test_exploring_draws_from_the_distribution(saved: Any) -> None:
    space = Dict({"a": Discrete(3), "b": Box(-4, 4, (1,))})
    path, algo = saved(elmur_ppo(Logged, LENGTHS | {"action": space}))
    policy, n = rllib_elmur.load_policy(path), 4000
    observation = np.tile(np.float32([0.3, -0.2, 0.9]), (n, 1))
    drawn = policy.act(observation, explore=True)
    policy.reset()
    likeliest = policy.act(observation)
    module = algo.get_module()
    inputs = module.forward_inference(
        {"obs": tensor(observation[:1, None]), "state_in": of_one(module.get_initial_state())}
    )["action_dist_inputs"][0, 0].numpy()
    shares = np.exp(inputs[:3]) / np.exp(inputs[:3]).sum()
    np.testing.assert_allclose(np.bincount(drawn["a"], minlength=3) / n, shares, atol=0.04)
    assert (likeliest["a"] == shares.argmax()).all()
    expected = np.clip(4 * (inputs[3] + np.exp(inputs[4]) * np.random.normal(size=n)), -4, 4)
    assert abs(drawn["b"].mean() - expected.mean()) < 0.3
    assert abs(drawn["b"].std() - expected.std()) < 0.3
    np.testing.assert_allclose(likeliest["b"], np.clip(4 * inputs[3], -4, 4), atol=1e-5)


def tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)


def of_one(state: Any) -> Any:
    return tree.map_structure(lambda x: x[None], state)


def test_nothing_is_learned_and_nothing_changed_by_acting(saved: Any) -> None:
    path, algo = saved(behind(MeanStdFilter))
    logs = rllibs_episodes(algo)
    policy = rllib_elmur.load_policy(path)
    seen = copied(logs[0]["observations"][0])
    for _ in range(2):
        assert_acts_alike(policy, logs)
    assert_close(seen, logs[0]["observations"][0])


@pytest.mark.parametrize(
    "config", [lambda: elmur_ppo(Logged, BOX, **BOTH), lambda: behind(Doubled, env=BOX)]
)
def test_its_actions_are_those_of_an_evaluation_to_the_last_bit(config: Any, saved: Any) -> None:
    path, _ = saved(config())
    policy = rllib_elmur.load_policy(path)
    for seed in (0, 1):
        Logged.episodes.clear()
        evaluate([path], EvaluateOptions(episodes=1, seed=seed))
        log = Logged.episodes[-1]
        assert len(log["actions"]) == 30
        policy.reset()
        for chosen, action in zip(replayed(policy, log), log["actions"], strict=True):
            np.testing.assert_array_equal(chosen, action)
