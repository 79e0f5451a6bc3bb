"""IMPALA and APPO: their learners bootstrap, their modules train, whatever lies in between."""

import time

import numpy as np
import pytest
import torch
from plugin_helpers import (
    SMALL,
    RandomEnv,
    learner_module,
    learner_of,
    train_batch,
    unmoved,
    weights,
)
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS

import rllib_elmur

CONFIGS = {"IMPALA": IMPALAConfig, "APPO": APPOConfig}
RLLIBS = {"IMPALA": IMPALATorchLearner, "APPO": APPOTorchLearner}


MAZE = "rllib_elmur/TMazePassive-v0"
LENGTHS = {"lengths": [3, 17]}
LOCAL = {"num_learners": 0}


class Unrewarded(RandomEnv):
    """Goes on and on and gives nothing."""

    def step(self, action):
        observation, _, *_ = super().step(action)
        return observation, 0.0, False, False, {}


def build(
    name,
    env=RandomEnv,
    env_config=LENGTHS,
    n_runners=0,
    learner=None,
    learners=LOCAL,
    evaluation=None,
    **training,
):
    config = (
        CONFIGS[name]()
        .environment(env, env_config=env_config)
        .env_runners(
            num_env_runners=n_runners,
            num_envs_per_env_runner=2,
            rollout_fragment_length=10,
            num_cpus_per_env_runner=0,
        )
        .learners(num_cpus_per_learner=0, **learners)
        .training(**{"train_batch_size_per_learner": 40, "lr": 1e-3, **training})
        .evaluation(**(evaluation or {}))
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=40)
        .debugging(log_level="ERROR")
    )
    rllib_elmur.use_elmur(config, **SMALL)
    if learner is not None:
        config.learners(learner_class=learner)
    return config.build_algo()


def value_loss(algo, n_steps):
    """The value loss of fragments of two environments, where every value is 1."""
    learner, module = learner_of(algo), learner_module(algo)
    with torch.no_grad():
        module.vf.weight.zero_()
        module.vf.bias.fill_(1.0)
    batch = train_batch(algo, algo.env_runner.sample(num_timesteps=2 * n_steps))
    learner.compute_loss_for_module(
        module_id=DEFAULT_MODULE_ID,
        config=learner.config.get_config_for_module(DEFAULT_MODULE_ID),
        batch=batch,
        fwd_out=module.forward_train(batch),
    )
    metrics = learner.metrics.peek((DEFAULT_MODULE_ID,))
    return float(
        metrics.get("mean_vf_loss", metrics["vf_loss"])
    )  # IMPALA's is a sum, APPO's a mean


@pytest.mark.parametrize("n_steps", [5, 8, 11])  # of a row of 8
@pytest.mark.parametrize("name", CONFIGS)
def test_a_fragment_is_worth_what_comes_after_it(name, n_steps, ray_is_quiet):
    algo = build(name, Unrewarded)
    before_row_ends = np.concatenate([np.arange(n, 0, -1) for n in (min(n_steps, 8), n_steps - 8)])
    expected = 0.5 * (1 - 0.99**before_row_ends) ** 2
    assert value_loss(algo, n_steps) == pytest.approx(expected.mean(), rel=1e-4)
    algo.stop()
    if n_steps % 8:  # RLlib's own learner takes a state inside a row for the last one
        algo = build(name, Unrewarded, learner=RLLIBS[name])
        assert value_loss(algo, n_steps) > 10 * expected.mean()
        algo.stop()


def every_parameter_trains(algo):
    """Trains on some steps; returns the results."""
    before, results, steps = weights(learner_module(algo)), [], 0
    for _ in range(60):
        results.append(algo.train())
        learned = results[-1]["learners"].get("__all_modules__", {})
        steps = learned.get("num_env_steps_trained_lifetime", 0)
        if steps >= 200:
            break
    assert steps >= 200
    assert not [n for n in unmoved(before, weights(learner_module(algo))) if "target" not in n]
    return results


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_trains(name, ray_is_quiet):
    algo = build(name, MAZE, {})
    every_parameter_trains(algo)
    algo.stop()


@pytest.mark.parametrize("name", CONFIGS)
def test_evaluation_runners_play_beside_training_with_its_weights(name, ray_is_quiet):
    evaluation = {
        "evaluation_interval": 1,
        "evaluation_num_env_runners": 1,
        "evaluation_parallel_to_training": True,
        "evaluation_duration": "auto",
        "evaluation_config": {"env_config": {"corridor_length": 12}, "explore": False},
    }
    algo = build(name, MAZE, {"corridor_length": [1, 3]}, 1, evaluation=evaluation)
    before, lengths = weights(learner_module(algo)), []
    for result in every_parameter_trains(algo) + [algo.train() for _ in range(3)]:
        played = result["evaluation"].get("env_runners", {})  # nothing yet: no such key
        lengths += [played["episode_len_mean"]] if played.get("num_episodes") else []
    assert lengths and set(lengths) == {13.0}  # the time limit, and the way to the end and a turn
    (playing,) = algo.eval_env_runner_group.foreach_env_runner(
        lambda runner: {n: v.numpy() for n, v in runner.module.state_dict().items()},
        local_env_runner=False,
    )
    first = {name: value for name, value in before.items() if name in playing}
    assert len(unmoved(first, playing)) < len(first) / 2
    algo.stop()


@pytest.mark.parametrize(
    ("n_runners", "learners", "training"),
    [
        (2, {"num_learners": 0}, {"use_circular_buffer": False}),
        (1, {"num_learners": 1, "num_aggregator_actors_per_learner": 1}, {}),
        (1, {"num_learners": 2, "num_aggregator_actors_per_learner": 1}, {}),
    ],
    ids=["local", "aggregator", "two learners"],
)
def test_what_runners_did_is_what_learners_compute(n_runners, learners, training, ray_is_quiet):
    # Without a learning rate all policies are the same one, on whatever way a batch comes.
    training = {**training, "lr": 0.0}
    algo = build(
        "APPO", MAZE, {"corridor_length": [1, 9]}, n_runners, learners=learners, **training
    )
    state = algo.learner_group.get_weights()[DEFAULT_MODULE_ID]
    generator = np.random.default_rng(0)
    state = {
        name: value + 0.3 * generator.standard_normal(value.shape).astype(np.float32)
        for name, value in state.items()
        if not name.startswith("target_network")
    }
    algo.learner_group.foreach_learner(
        lambda learner, state=state: learner.module[DEFAULT_MODULE_ID].unwrapped().set_state(state)
    )
    algo.env_runner_group.sync_weights(from_worker_or_learner_group=algo.learner_group)
    ratios, deadline = [], time.monotonic() + 120
    while len(ratios) < 6 and time.monotonic() < deadline:
        result = algo.train().get("learners", {}).get(DEFAULT_MODULE_ID, {})
        if np.isfinite(result.get("mean_IS", np.nan)):  # else no learner has reported
            ratios.append((result["mean_IS"], result["var_IS"]))
    assert len(ratios) == 6
    # The first ones may be of weights that were replaced.
    assert np.allclose(ratios[3:], [1.0, 0.0], atol=1e-5), ratios
    algo.stop()


def test_appos_target_network_is_an_older_policy(ray_is_quiet):
    algo = build("APPO", target_network_update_freq=1)
    module = learner_module(algo)
    batch = train_batch(algo, algo.env_runner.sample(num_timesteps=20))

    def deviation():
        with torch.no_grad():
            now = module.forward_train(batch)["action_dist_inputs"]
            old = module.forward_target(batch)[TARGET_NETWORK_ACTION_DIST_INPUTS]
        return float((now - old).abs().max())

    assert deviation() < 1e-6
    with torch.no_grad():
        module.network.pi.bias.add_(1.0)
    assert deviation() > 0.5
    # The weights of an algorithm without a target network are those of both.
    state = {n: v for n, v in module.get_state().items() if not n.startswith("target_network")}
    module.set_state(state)
    assert deviation() < 1e-6
    algo.stop()
