"""What the learner computes on sampled data against what the env runner computed."""

from typing import Any

import numpy as np
import pytest
import torch
from fragments import TOLERANCE, per_fragment, run_through, sample, sampled_batch
from plugin_helpers import ENV, RandomEnv, elmur_ppo, learner_module, learner_of, shake
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData

from rllib_elmur.plugin.columns import state_column

# The paper's form, and that of the defaults.
FORMS = [{}, {"attention_window": 5, "write_before_read": True, "rotate_distances": True}]


@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
@pytest.mark.parametrize("memory_levels", [None, 2])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_logits_recomputed_by_the_learner_are_those_of_the_rollout(
    batch_mode: str,
    memory_levels: int | None,
    form: dict[str, Any],
    capsys: pytest.CaptureFixture,
) -> None:
    algo, fragments, batch = sampled_batch(batch_mode, memory_levels=memory_levels, **form)
    logits = learner_module(algo).forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    error = (logits - batch[Columns.ACTION_DIST_INPUTS]).abs().amax(-1)
    error[~batch[Columns.LOSS_MASK]] = 0
    chunk = error.amax(-1)
    flipped = chunk > 1e-3 if memory_levels else torch.zeros_like(chunk, dtype=torch.bool)
    worst = chunk[~flipped].max().item()
    with capsys.disabled():
        print(
            f"\n{batch_mode}, memory_levels={memory_levels}, {form}: "
            f"worst logit error {worst:.1e} on "
            f"{int(batch[Columns.LOSS_MASK].sum())} steps of {len(fragments)} fragments; "
            f"{int(flipped.sum())} of {len(chunk)} chunks flipped"
        )
    assert batch[Columns.ACTION_DIST_INPUTS].std() > 0.3  # so that an error shows
    assert worst <= TOLERANCE
    assert flipped.float().mean() < 1e-3
    algo.stop()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_an_episode_cut_into_fragments_gives_the_values_of_one_that_is_run_through(
    form: dict[str, Any],
) -> None:
    algo, fragments, batch = sampled_batch(**form)
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
