"""What the learner computes on sampled data against what the env runner computed."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from plugin_helpers import (
    RandomEnv,
    elmur_ppo,
    learner_module,
    learner_of,
    shake,
    train_batch,
)
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.evaluation.postprocessing import Postprocessing

from rllib_elmur.plugin.columns import state_column

TOLERANCE = 1e-5
# Episodes of one step, shorter and longer than a chunk of 8, and of its length and multiples.
LENGTHS = [1, 2, 7, 8, 9, 16, 23, 40]
ENV = {"observation": gym.spaces.Box(-1, 1, (3,)), "lengths": LENGTHS}


class Fragment:
    """What an env runner stored of an episode, kept before the learner changes it."""

    def __init__(self, episode: Any):
        self.id, self.start, self.length = episode.id_, episode.t_started, len(episode)
        self.observations = np.array(episode.get_observations())  # one more than steps
        self.rewards = np.array(episode.get_rewards())
        self.terminated = episode.is_terminated
        outputs = episode.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS)
        self.logits = np.array(outputs)

    def rows(self, max_seq_len: int) -> int:
        """Rows of a training batch, the phantom step at the end included."""
        return math.ceil((self.length + 1) / max_seq_len)


def sample(algo: Any, batch_mode: str, n_calls: int = 12) -> list[Any]:
    """Episodes and fragments; truncated ones are cut at random places."""
    random = np.random.default_rng(0)
    episodes = []
    for _ in range(n_calls):
        if batch_mode == "complete_episodes":
            episodes += algo.env_runner.sample(num_episodes=3)
        else:
            episodes += algo.env_runner.sample(num_timesteps=int(random.integers(1, 80)))
    return episodes


def sampled_batch(
    batch_mode: str = "truncate_episodes", env_config: Any = None, **options: Any
) -> tuple[Any, list[Fragment], dict[str, Any]]:
    config = elmur_ppo(RandomEnv, env_config or ENV, **options)
    config.env_runners(num_envs_per_env_runner=3, batch_mode=batch_mode)
    algo = config.build_algo()
    shake(algo)
    episodes = sample(algo, batch_mode)
    fragments = [Fragment(episode) for episode in episodes]
    return algo, fragments, train_batch(algo, episodes)


def per_fragment(column: torch.Tensor, fragments: list[Fragment]) -> list[np.ndarray]:
    """Padded rows (B, T, ...) to one array a fragment, its phantom step last."""
    max_seq_len = column.shape[1]
    arrays, row = [], 0
    for fragment in fragments:
        n_rows = fragment.rows(max_seq_len)
        steps = column[row : row + n_rows].flatten(0, 1)[: fragment.length + 1]
        arrays.append(steps.detach().numpy())
        row += n_rows
    assert row == len(column)
    return arrays


def run_through(module: Any, fragments: list[Fragment]) -> tuple[list[np.ndarray], ...]:
    """Logits and values of every observation, each episode run in one piece from its start."""
    logits, values, done = [], [], {}
    for fragment in fragments:
        key = fragment.id
        seen = done.get(key)
        new = fragment.observations if seen is None else fragment.observations[1:]
        done[key] = new if seen is None else np.concatenate([seen, new])
    whole = {}
    for key, observations in done.items():
        state = {k: v[None] for k, v in module.get_initial_state().items()}
        batch = {Columns.OBS: torch.as_tensor(observations)[None], Columns.STATE_IN: state}
        with torch.no_grad():
            output = module.forward_train(batch)
            value = module.compute_values(batch, embeddings=output[Columns.EMBEDDINGS])
        whole[key] = output[Columns.ACTION_DIST_INPUTS][0].numpy(), value[0].numpy()
    for fragment in fragments:
        place = slice(fragment.start, fragment.start + fragment.length + 1)
        logits.append(whole[fragment.id][0][place])
        values.append(whole[fragment.id][1][place])
    return logits, values


@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
@pytest.mark.parametrize("memory_levels", [None, 2])
def test_logits_recomputed_by_the_learner_are_those_of_the_rollout(
    batch_mode: str, memory_levels: int | None, capsys: pytest.CaptureFixture
) -> None:
    algo, fragments, batch = sampled_batch(batch_mode, memory_levels=memory_levels)
    logits = learner_module(algo).forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    error = (logits - batch[Columns.ACTION_DIST_INPUTS]).abs().amax(-1)
    error[~batch[Columns.LOSS_MASK]] = 0
    chunk = error.amax(-1)
    flipped = chunk > 1e-3 if memory_levels else torch.zeros_like(chunk, dtype=torch.bool)
    worst = chunk[~flipped].max().item()
    with capsys.disabled():
        print(
            f"\n{batch_mode}, memory_levels={memory_levels}: worst logit error {worst:.1e} on "
            f"{int(batch[Columns.LOSS_MASK].sum())} steps of {len(fragments)} fragments; "
            f"{int(flipped.sum())} of {len(chunk)} chunks flipped"
        )
    assert batch[Columns.ACTION_DIST_INPUTS].std() > 0.3  # so that an error shows
    assert worst <= TOLERANCE
    assert flipped.float().mean() < 1e-3
    algo.stop()


def test_an_episode_cut_into_fragments_gives_the_values_of_one_that_is_run_through() -> None:
    algo, fragments, batch = sampled_batch()
    module = learner_module(algo)
    max_seq_len = module.model_config["max_seq_len"]
    # The data hold what the test is about.
    assert any(fragment.start > 0 for fragment in fragments)
    assert any(fragment.length % max_seq_len == 0 for fragment in fragments)
    assert any(fragment.length > 2 * max_seq_len for fragment in fragments)
    assert any(fragment.length == 1 for fragment in fragments)
    assert not all(fragment.terminated for fragment in fragments)
    logits, values = run_through(module, fragments)
    output = module.forward_train(batch)
    learner_logits = per_fragment(output[Columns.ACTION_DIST_INPUTS], fragments)
    # What came before a row shows: without its state there are other logits.
    start = module.network.elmur.initial_state(len(batch[Columns.OBS]))
    stateless = module.forward_train(batch | {Columns.STATE_IN: state_column(start)})
    without = per_fragment(stateless[Columns.ACTION_DIST_INPUTS], fragments)
    late = [i for i, fragment in enumerate(fragments) if fragment.start > max_seq_len]
    assert late
    assert min(np.abs(without[i] - logits[i]).max() for i in late) > 1000 * TOLERANCE
    # As the loss gets them, and as the advantages get them; the last is the bootstrap value.
    in_loss = module.compute_values(batch, embeddings=output[Columns.EMBEDDINGS])
    in_gae = module.compute_values(batch)
    for i, fragment in enumerate(fragments):
        np.testing.assert_allclose(fragment.logits, logits[i][:-1], atol=TOLERANCE)
        np.testing.assert_allclose(learner_logits[i], logits[i], atol=TOLERANCE)
        np.testing.assert_allclose(per_fragment(in_loss, fragments)[i], values[i], atol=TOLERANCE)
        np.testing.assert_allclose(per_fragment(in_gae, fragments)[i], values[i], atol=TOLERANCE)
    algo.stop()


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


def test_rows_keep_their_state_in_shuffled_minibatches() -> None:
    config = elmur_ppo(RandomEnv, ENV)
    config.env_runners(num_envs_per_env_runner=3).training(lr=0.0, minibatch_size=64)
    algo = config.build_algo()
    shake(algo)
    learner, module = learner_of(algo), learner_module(algo)
    errors = []
    compute_loss = learner.compute_loss_for_module

    def recording(*, batch: Any, fwd_out: Any, **kwargs: Any) -> Any:
        error = (fwd_out[Columns.ACTION_DIST_INPUTS] - batch[Columns.ACTION_DIST_INPUTS]).abs()
        errors.append(error[batch[Columns.LOSS_MASK]].max().item())
        return compute_loss(batch=batch, fwd_out=fwd_out, **kwargs)

    learner.compute_loss_for_module = recording
    learner.update(
        training_data=TrainingData(episodes=sample(algo, "truncate_episodes")),
        timesteps={},
        num_epochs=3,
        minibatch_size=64,
        shuffle_batch_per_epoch=True,
    )
    assert module is learner_module(algo)
    assert len(errors) > 10
    assert max(errors) <= TOLERANCE
    algo.stop()
