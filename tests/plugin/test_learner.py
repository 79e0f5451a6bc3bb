"""The learner that `use_elmur` sets: a slower memory track, a KL coefficient that stays."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from plugin_helpers import SMALL, learner_module, ppo, weights
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns

import rllib_elmur
from rllib_elmur.plugin.learner.advantage_floor import scale_of

SCALE = 0.25
SCHEDULE = [[0, 1e-3], [1000, 1e-4]]


class Own(PPOTorchLearner):
    """A learner of the user's."""


def learner_of(algo):
    return algo.learner_group._learner


def rates(algo):
    """Learning rate by parameter."""
    (optimizer,) = learner_of(algo)._named_optimizers.values()
    return {p: float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}


def expected(algo, rate):
    module = learner_module(algo)
    memory = {id(p) for p in module.network.elmur.memory_parameters()}
    return {p: rate * (SCALE if id(p) in memory else 1) for p in module.parameters()}


@pytest.fixture
def algo(ray_is_quiet):
    config = rllib_elmur.use_elmur(
        ppo().training(lr=SCHEDULE, use_kl_loss=True), memory_lr_scale=SCALE, **SMALL
    )
    algo = config.build_algo()
    yield algo
    algo.stop()


def test_the_memory_track_learns_at_its_own_rate_along_the_schedule(algo, tmp_path):
    assert rates(algo) == pytest.approx(expected(algo, 1e-3))
    memory = learner_module(algo).network.elmur.memory_parameters()
    names = {n for n, p in learner_module(algo).named_parameters() if any(p is m for m in memory)}
    parts = ("tok2mem", "memory_ffn", "write_residual", "initial_memory")
    assert all(any(part in name for part in parts) for name in names)
    assert all(any(part in name for name in names) for part in parts)
    steps = algo.train()["num_env_steps_sampled_lifetime"]
    rate = 1e-3 + (1e-4 - 1e-3) * min(steps / 1000, 1.0)
    assert rates(algo) == pytest.approx(expected(algo, rate), rel=1e-3)
    restored = Algorithm.from_checkpoint(algo.save_to_path(str(tmp_path)))
    assert sorted(rates(restored).values()) == pytest.approx(sorted(rates(algo).values()))
    restored.stop()


def test_the_kl_coefficient_rises_and_does_not_fall_below_its_first_value(algo):
    learner = learner_of(algo)
    config = learner.config.get_config_for_module("default_policy")

    def coefficient(kl):
        learner._update_module_kl_coeff(module_id="default_policy", config=config, kl_loss=kl)
        return float(learner.curr_kl_coeffs_per_module["default_policy"])

    first = config.kl_coeff
    assert [coefficient(0.0), coefficient(1.0)] == pytest.approx([first, 1.5 * first])
    assert [coefficient(0.0), coefficient(0.0)] == pytest.approx([first, first])
    assert isinstance(learner.curr_kl_coeffs_per_module["default_policy"], torch.Tensor)


@pytest.mark.parametrize("learner", [None, APPOTorchLearner])
def test_appos_kl_coefficient_falls_with_rllibs_learner_alone(learner, ray_is_quiet):
    config = APPOConfig().environment("rllib_elmur/TMazePassive-v0")
    config.env_runners(num_env_runners=0, rollout_fragment_length=10)
    config.training(train_batch_size_per_learner=20, lr=0.0, use_kl_loss=True, kl_coeff=0.4)
    config.reporting(min_time_s_per_iteration=0).debugging(log_level="ERROR")
    rllib_elmur.use_elmur(config, **SMALL).learners(num_learners=0)
    if learner is not None:
        config.learners(learner_class=learner)
    algo = config.build_algo()
    for _ in range(10):  # without a learning rate the divergence stays at zero
        algo.train()
    coefficient = float(learner_of(algo).curr_kl_coeffs_per_module["default_policy"])
    assert coefficient == pytest.approx(0.4) if learner is None else coefficient < 0.2
    algo.stop()


@pytest.mark.parametrize(
    "option",
    [
        ("memory_lr_scale", 0.1, "1.0"),
        ("weight_decay", 0.5, "0.0"),
        ("encoder_weight_decay", 0.5, "0.0"),
        ("advantage_floor", 0.2, "0.0"),
    ],
)
def test_a_learner_that_does_not_know_an_option_says_so(option):
    name, value, neutral = option
    config = PPOConfig().learners(learner_class=Own)
    with pytest.raises(ValueError, match=rf"{name}={value}: Own .*Allowed with it is {neutral}"):
        rllib_elmur.use_elmur(config, **{name: value})


def test_weights_decay_by_the_rate_where_they_have_no_gradient(ray_is_quiet):
    config = ppo(num_epochs=1, minibatch_size=64, vf_loss_coeff=0.0, lr=0.5)
    config.environment(env_config={"action": gym.spaces.Discrete(1)})  # nothing to choose
    decays = {"weight_decay": 0.1, "encoder_weight_decay": 0.2, "memory_lr_scale": 1.0}
    algo = rllib_elmur.use_elmur(config, **decays, **SMALL).build_algo()
    before = weights(learner_module(algo))
    algo.train()
    after = weights(learner_module(algo))
    updates = np.log(after["vf.weight"] / before["vf.weight"]).mean() / np.log(0.95)
    assert updates == pytest.approx(round(updates), abs=1e-3) and updates > 0.5
    for name, value in before.items():
        kept = 0.9 if name.startswith("network.encoder") else 0.95
        assert np.allclose(after[name], kept ** round(updates) * value, rtol=1e-4), name
    assert any(name.startswith("network.encoder") for name in before)
    algo.stop()


def weights_after_an_iteration(floor):
    config = ppo(num_epochs=1, minibatch_size=64, vf_loss_coeff=0.0, entropy_coeff=0.0)
    config.training(use_kl_loss=False).debugging(seed=1)
    algo = rllib_elmur.use_elmur(config, advantage_floor=floor, **SMALL).build_algo()
    algo.train()
    after = weights(learner_module(algo))
    algo.stop()
    return after


def test_small_advantages_are_not_scaled_up(ray_is_quiet):
    plain, below, far_above = (weights_after_an_iteration(floor) for floor in (0.0, 1e-6, 1e9))
    assert all(np.array_equal(plain[name], below[name]) for name in plain)
    change = {name: np.abs(plain[name] - far_above[name]).max() for name in plain}
    assert change["network.pi.weight"] > 1e-4
    farther = weights_after_an_iteration(1e12)
    assert all(np.allclose(far_above[name], farther[name], atol=1e-6) for name in plain)


def play(rewards, errors=0.0, scale=1.0):
    """A batch in which the value function errs by `errors`, and the values."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(rewards.shape, generator=generator)
    off = errors * torch.randn(rewards.shape, generator=generator)
    batch = {Columns.REWARDS: scale * rewards, Columns.VALUE_TARGETS: scale * targets}
    return {**batch, Columns.LOSS_MASK: torch.ones_like(targets)}, scale * (targets - off)


def test_a_floor_is_a_share_of_the_returns_and_has_no_scale_of_its_own():
    rewards = torch.zeros(4, 9)
    rewards[:, -1] = torch.tensor([1.0, -1.0, 1.0, 1.0])
    returns = torch.tensor([[r * 0.9**k for k in range(8, -1, -1)] for r in rewards[:, -1]])
    errors = 0.1
    scales = [scale_of(*play(rewards, errors, k), 0.5, 0.9) for k in (1.0, 100.0)]
    batch, values = play(rewards, errors)
    deviation = (batch[Columns.VALUE_TARGETS] - values).std(correction=0)
    assert scales == pytest.approx([float(deviation / (0.5 * returns.std(correction=0)))] * 2)
    assert scale_of(*play(rewards, 10.0), 0.5, 0.9) == 1.0
    assert scale_of(*play(torch.zeros(4, 9), errors), 0.5, 0.9) == 1.0
    assert scale_of(*play(torch.zeros(4, 9)), 0.5, 0.9) == 1.0  # nothing to divide by nothing


def test_what_is_masked_counts_for_no_floor():
    rewards = torch.zeros(4, 9)
    rewards[:, 5] = 1.0
    batch, values = play(rewards, 0.01)
    before = scale_of(batch, values, 0.5, 0.9)
    padded = {k: torch.cat([v, torch.full((4, 3), 7.0)], dim=1) for k, v in batch.items()}
    padded[Columns.LOSS_MASK][:, -3:] = 0.0
    values = torch.cat([values, torch.full((4, 3), -7.0)], dim=1)
    assert scale_of(padded, values, 0.5, 0.9) == pytest.approx(float(before))


def test_the_algorithms_without_standardised_advantages_refuse_a_floor():
    with pytest.raises(ValueError, match=r"advantage_floor=0.2: StableAPPOTorchLearner.*PPO"):
        rllib_elmur.use_elmur(APPOConfig(), advantage_floor=0.2)
