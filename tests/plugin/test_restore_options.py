"""A restored training has the options of its config, and the moments that were saved."""

import pytest
import torch
from plugin_helpers import SMALL, elmur_ppo, learner_module, learner_of
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig

import rllib_elmur

MAZE = "rllib_elmur/TMazePassive-v0"
SAVED = {"weight_decay": 0.5, "encoder_weight_decay": 5.0, "memory_lr_scale": 0.125}
NEUTRAL = {"weight_decay": 0.0, "encoder_weight_decay": 0.0, "memory_lr_scale": 1.0}
OTHER = {"weight_decay": 0.25, "encoder_weight_decay": 0.0, "memory_lr_scale": 0.5}
RATE = 1e-3


def build(options, lr=RATE, **learners):
    config = elmur_ppo(MAZE, {"corridor_length": [1, 9]}, **options).training(lr=lr)
    return config.learners(**learners).build_algo()


def optimizer_of(learner):
    [(_, optimizer)] = learner.get_optimizers_for_module("default_policy")
    return optimizer


def options_of(optimizer):
    first, memory, encoder = optimizer.param_groups
    return {
        "weight_decay": first["weight_decay"],
        "encoder_weight_decay": encoder["weight_decay"],
        "memory_lr_scale": memory["lr"] / first["lr"],
    }


def moments(optimizer):
    return [(v["exp_avg"], v["exp_avg_sq"], v["step"]) for v in optimizer.state.values()]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The moments of a training after an iteration, and its checkpoint."""
    algo = build(SAVED)
    algo.train()
    path = algo.save_to_path(str(tmp_path_factory.mktemp("saved")))
    yield moments(optimizer_of(learner_of(algo))), path
    algo.stop()


@pytest.mark.parametrize("options", [NEUTRAL, OTHER, SAVED], ids=str)
def test_the_options_are_those_of_the_config_and_the_moments_those_of_the_checkpoint(
    options, saved, ray_is_quiet
):
    expected, path = saved
    algo = build(options)
    algo.restore_from_path(path)
    optimizer = optimizer_of(learner_of(algo))
    assert options_of(optimizer) == pytest.approx(options)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(RATE)
    assert optimizer.param_groups[0]["eps"] == 1e-5
    for found, wanted in zip(moments(optimizer), expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    algo.train()
    assert options_of(optimizer) == pytest.approx(options)
    algo.stop()


def test_a_learning_rate_of_the_config_holds_from_the_first_update_on(saved, ray_is_quiet):
    _, path = saved
    algo = build(OTHER, lr=RATE / 4)
    algo.restore_from_path(path)
    optimizer = optimizer_of(learner_of(algo))
    assert optimizer.param_groups[0]["lr"] == RATE / 4
    assert options_of(optimizer) == pytest.approx(OTHER)
    algo.stop()


def test_a_state_that_is_set_without_a_file_brings_no_options_either(saved, ray_is_quiet):
    source, target = build(SAVED), build(OTHER)
    target.set_state(source.get_state())
    assert options_of(optimizer_of(learner_of(target))) == pytest.approx(OTHER)
    source.stop()
    target.stop()


def test_weights_decay_after_restoring_as_the_config_says(saved, ray_is_quiet):
    _, path = saved
    kept = {}
    for name, options in {"saved": SAVED, "neutral": NEUTRAL}.items():
        algo = build(options, lr=0.5)
        algo.restore_from_path(path)
        optimizer = optimizer_of(learner_of(algo))
        learner_of(algo).set_rate(optimizer, 0.5)
        before = learner_module(algo).vf.weight.detach().clone()
        optimizer.zero_grad(set_to_none=False)
        for values in optimizer.state.values():
            values["exp_avg"].zero_()
        for parameter in learner_module(algo).parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        kept[name] = (learner_module(algo).vf.weight / before).mean().item()
        algo.stop()
    assert kept["saved"] == pytest.approx(0.75)
    assert kept["neutral"] == pytest.approx(1.0)


def test_a_learning_rate_on_its_schedule_stays_where_it_was(tmp_path, ray_is_quiet):
    schedule = [[0, 1e-3], [1000, 1e-4]]
    algo = build(SAVED, schedule)
    algo.train()
    rate = optimizer_of(learner_of(algo)).param_groups[0]["lr"]
    assert rate < 1e-3
    other = build(OTHER, schedule)
    other.restore_from_path(algo.save_to_path(str(tmp_path)))
    optimizer = optimizer_of(learner_of(other))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(float(rate))
    assert options_of(optimizer) == pytest.approx(OTHER)
    algo.stop()
    other.stop()


def test_a_checkpoint_that_makes_its_own_algorithm_has_its_own_options(saved, ray_is_quiet):
    _, path = saved
    algo = Algorithm.from_checkpoint(path)
    assert options_of(optimizer_of(learner_of(algo))) == pytest.approx(SAVED)
    algo.stop()


def test_remote_learners_restore_alike(saved, ray_is_quiet):
    _, path = saved
    algo = build(OTHER, num_learners=1)
    algo.restore_from_path(path)

    def groups(learner):
        [(_, optimizer)] = learner.get_optimizers_for_module("default_policy")
        return [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]

    [found] = algo.learner_group.foreach_learner(groups)
    first, memory, encoder = found.get()
    assert (first["weight_decay"], encoder["weight_decay"]) == (0.25, 0.0)
    assert memory["lr"] == pytest.approx(0.5 * first["lr"])
    algo.stop()


@pytest.mark.parametrize("config", [IMPALAConfig, APPOConfig])
def test_the_learners_of_impala_and_appo_restore_alike(config, saved, tmp_path, ray_is_quiet):
    def build_async(options):
        made = config().environment(MAZE, env_config={"corridor_length": [1, 9]})
        made.env_runners(num_env_runners=0, rollout_fragment_length=10)
        made.learners(num_learners=0).training(train_batch_size_per_learner=20, lr=RATE)
        made.reporting(min_time_s_per_iteration=0).debugging(log_level="ERROR")
        return rllib_elmur.use_elmur(made, **SMALL, **options).build_algo()

    algo = build_async(SAVED)
    path = algo.save_to_path(str(tmp_path))
    other = build_async(NEUTRAL)
    other.restore_from_path(path)
    assert options_of(optimizer_of(learner_of(other))) == pytest.approx(NEUTRAL)
    algo.stop()
    other.stop()
