"""The same rollouts by RLlib's own path and by ours, and the train batches they make."""

from collections.abc import Callable
from typing import Any

import torch
import tree
from plugin_helpers import ENV, RandomEnv, elmur_ppo, learner_of, shake, train_batch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_elmur.plugin.train_rows import MASKED_STEPS

FRAGMENTS = [9, 24, 48, 3, 31, 6, 80]
TOLERANCE = 1e-4
WAYS = ["pieces", "recorder"]


def watch_steps(**kwargs: Any) -> None:
    """A user's callback that looks at episodes between their steps."""


def algorithm(way: str, prepare: Callable[[Any], None] = lambda config: None, **options: Any):
    """PPO whose env runner is RLlib's own ("plain"), has our pieces in RLlib's loop, or records."""
    env_config = options.pop("env_config", ENV)
    config = elmur_ppo(RandomEnv, env_config, **options).env_runners(num_envs_per_env_runner=3)
    prepare(config)
    if way == "plain":
        config.env_runners(env_runner_cls=SingleAgentEnvRunner)
    elif way == "pieces":
        config.callbacks(on_episode_step=watch_steps)
    torch.manual_seed(0)
    algo = config.build_algo()
    shake(algo)
    return algo


def batches(
    algo: Any, fragments: list[int] = FRAGMENTS, complete: bool = False
) -> list[dict[str, Any]]:
    """Train batches, of a sample each, with new weights in between."""
    runner, made = algo.env_runner, []
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(2)
    for n_steps in fragments:
        sizes = {"num_episodes": 3} if complete else {"num_timesteps": n_steps}
        made.append(train_batch(algo, runner.sample(**sizes)))
        with torch.no_grad():  # in the middle of episodes and of their segments
            for parameter in runner.module.parameters():
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return made


def assert_equal(made: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Columns, shapes, types and values are the same, up to the rounding of the logits."""
    assert len(made) == len(expected)
    for batch, reference in zip(made, expected, strict=True):
        assert set(batch) == set(reference)
        for name, column in reference.items():
            tree.assert_same_structure(batch[name], column)
            leaves = zip(tree.flatten(batch[name]), tree.flatten(column), strict=True)
            for value, wanted in leaves:
                assert value.shape == wanted.shape, name
                # RLlib narrows the integers of a state.
                assert value.dtype == wanted.dtype or name == Columns.STATE_IN, name
                difference = (value.double() - wanted.double()).abs().max().item()
                assert difference < TOLERANCE, (name, difference)


def masked(algo: Any) -> int:
    return int(learner_of(algo).metrics.peek((DEFAULT_MODULE_ID, MASKED_STEPS)))
