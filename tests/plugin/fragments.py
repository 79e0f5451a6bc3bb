"""Rollout fragments as sampled, and the same episodes run through the module in one piece."""

import math
from typing import Any

import numpy as np
import torch
from plugin_helpers import ENV, RandomEnv, elmur_ppo, shake, train_batch
from ray.rllib.core.columns import Columns

TOLERANCE = 1e-5


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
