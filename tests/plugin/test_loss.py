"""Targets, advantages, loss and gradient against whole episodes, without padding."""

from typing import Any

import numpy as np
import pytest
import torch
from fragments import per_fragment, run_through, sampled_batch
from plugin_helpers import ENV, learner_module, learner_of
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing


@pytest.mark.parametrize("truncate", [False, True])
def test_value_targets_and_advantages_are_those_of_whole_episodes(truncate: bool) -> None:
    algo, fragments, batch = sampled_batch(env_config=ENV | {"truncate": truncate})
    _, values = run_through(learner_module(algo), fragments)
    targets = per_fragment(batch[Postprocessing.VALUE_TARGETS], fragments)
    advantages = per_fragment(batch[Postprocessing.ADVANTAGES], fragments)
    gamma, lambda_ = algo.config.gamma, algo.config.lambda_
    expected = []
    for fragment, value, target in zip(fragments, values, targets, strict=True):
        advantage, after = np.zeros(fragment.length), 0.0
        for t in reversed(range(fragment.length)):
            bootstrap = 0.0 if fragment.terminated and t == fragment.length - 1 else value[t + 1]
            delta = fragment.rewards[t] + gamma * bootstrap - value[t]
            advantage[t] = after = delta + gamma * lambda_ * after
        expected.append(advantage)
        np.testing.assert_allclose(target[:-1], advantage + value[:-1], atol=1e-4)
    # RLlib standardises over the phantom steps too: a shift and a scale, the same for all.
    found = np.concatenate([advantage[:-1] for advantage in advantages])
    wanted = np.concatenate(expected)
    standard = [(x - x.mean()) / x.std() for x in (found, wanted)]
    np.testing.assert_allclose(*standard, atol=1e-4)
    algo.stop()


def loss_and_gradient(algo: Any, batch: dict[str, Any]) -> tuple[float, list[torch.Tensor]]:
    learner, module = learner_of(algo), learner_module(algo)
    loss = learner.compute_loss_for_module(
        module_id="default_policy",
        config=algo.config,
        batch=batch,
        fwd_out=module.forward_train(batch),
    )
    return loss.item(), torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)


def test_phantom_steps_and_padding_change_neither_loss_nor_gradient() -> None:
    algo, fragments, batch = sampled_batch()
    loss, gradient = loss_and_gradient(algo, batch)
    assert all(part is not None for part in gradient)
    other = dict(batch)
    unused = ~batch[Columns.LOSS_MASK]
    assert unused.sum() > len(fragments)  # padding besides the phantoms
    for column in (Columns.OBS, Columns.ACTION_DIST_INPUTS, Postprocessing.ADVANTAGES):
        other[column] = batch[column].clone()
        other[column][unused] = torch.randn_like(other[column][unused])
    other_loss, other_gradient = loss_and_gradient(algo, other)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for a, b in zip(gradient, other_gradient, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    algo.stop()


def test_the_loss_is_that_of_the_real_steps_alone() -> None:
    algo, fragments, batch = sampled_batch()
    loss, _ = loss_and_gradient(algo, batch)
    module, config = learner_module(algo), algo.config
    logits, values = run_through(module, fragments)
    logits = torch.as_tensor(np.concatenate([part[:-1] for part in logits]))
    values = torch.as_tensor(np.concatenate([part[:-1] for part in values]))

    def real(column: str) -> torch.Tensor:
        parts = per_fragment(batch[column], fragments)
        return torch.as_tensor(np.concatenate([part[:-1] for part in parts]))

    policy = torch.distributions.Categorical(logits=logits)
    old = torch.distributions.Categorical(logits=real(Columns.ACTION_DIST_INPUTS))
    ratio = torch.exp(policy.log_prob(real(Columns.ACTIONS)) - real(Columns.ACTION_LOGP))
    advantages = real(Postprocessing.ADVANTAGES)
    clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
    surrogate = torch.min(advantages * ratio, advantages * clipped)
    value_loss = (values - real(Postprocessing.VALUE_TARGETS)) ** 2
    value_loss = config.vf_loss_coeff * value_loss.clamp(0, config.vf_clip_param)
    kl = torch.distributions.kl_divergence(old, policy).mean()
    expected = (-surrogate + value_loss).mean() + config.kl_coeff * kl
    expected -= config.entropy_coeff * policy.entropy().mean()
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    algo.stop()
