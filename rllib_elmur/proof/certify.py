"""Decides whether a policy acts correctly in every episode, and replays one in which it fails."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_elmur.acting.actions import Actions
from rllib_elmur.acting.checkpoint import plain_policy
from rllib_elmur.envs.finite import FiniteTask
from rllib_elmur.errors import UserError
from rllib_elmur.model.action_mask import ActionMask
from rllib_elmur.model.encoder import VectorEncoder
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.plugin import checkpoints
from rllib_elmur.plugin.environments import env_maker, evaluation_options, require_spaces
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.process import one_thread
from rllib_elmur.proof import MAX_STATES
from rllib_elmur.proof.certificate import Certificate
from rllib_elmur.proof.description import Describe, finite_task_of
from rllib_elmur.proof.proof import Proof
from rllib_elmur.proof.search import check_all_episodes


@dataclass
class Replay:
    """A counterexample, played in the environment.

    Attributes:
        info: What the environment says of the episode at its reset.
        observations: Those of the counterexample, (T, *space).
        entries: What the entries of an observation are called.
        correct: The correct actions of each step, (T, A) bool.
        actions: What the policy did, (T,).
        confirmed: Whether the environment showed these observations, and the policy's last
            action was wrong and no other.
        success: What the environment says of the episode, or the share of what was asked that was
            answered correctly; None if it went on.
    """

    info: dict[str, Any]
    observations: NDArray
    entries: tuple[str, ...]
    correct: NDArray[np.bool_]
    actions: NDArray[np.int64]
    confirmed: bool
    success: bool | float | None


def certify(
    checkpoint: str | PathLike[str],
    env: str | None = None,
    env_config: dict[str, Any] | None = None,
    max_states: int = MAX_STATES,
    on_progress: Callable[[Certificate], Any] | None = None,
    task: Describe | None = None,
) -> tuple[Certificate, Replay | None]:
    """Decides whether a checkpoint's policy acts correctly in every episode, however long.

    Args:
        checkpoint: A checkpoint, or a folder of results (its newest one).
        env: Another environment than in training.
        env_config: Options laid over those of the training and of its evaluation.
        max_states: The search ends undecided with more states than this.
        on_progress: Called now and then with what is known so far.
        task: A function from the environment to its finite description. If not given: that which
            the training's `CertifyMemory` had, or the environment's own method `finite_task`.

    Returns:
        The certificate and, if the policy is refuted, the counterexample's replay.

    Raises:
        UserError: If the memory is not rounded, if the environment has no finite description, or
            one that is not true to it.
    """
    policy = checkpoints.load(Path(checkpoint))
    if policy.connectors:
        raise UserError(
            f"{checkpoint}: cannot be certified: its policy reads what the connectors "
            f"{', '.join(policy.connectors)} make of observations."
        )
    if task is None and env is None:
        task = task_of_training(policy.settings)
    name = env or checkpoints.environment_of(policy)
    made = env_maker(name)({**({} if env else policy.env_config), **(env_config or {})})
    try:
        return certify_module(policy.module, made, max_states, on_progress, task)
    finally:
        made.close()


def certify_module(
    module: Any,
    env: gym.Env,
    max_states: int = MAX_STATES,
    on_progress: Callable[[Certificate], Any] | None = None,
    task: Describe | None = None,
) -> tuple[Certificate, Replay | None]:
    """Decides it for a module and an environment that exist already (see `certify`)."""
    network = require_rounded(module)
    finite = finite_task_of(env, task)
    require_spaces(module, env.observation_space, env.action_space)
    _require_bounds(network, finite)
    with one_thread():
        certificate = check_all_episodes(network, finite, max_states, on_progress)
        if certificate.closed is not None:
            certificate.proof = Proof(network, certificate)
    if certificate.counterexample is None:
        return certificate, None
    return certificate, _replay(module, env, certificate.task, certificate.counterexample)


def require_rounded(module: Any) -> PolicyNetwork:
    """Returns the network of a policy with a rounded memory and attention inside a segment.

    Raises:
        UserError: If it is another one.
    """
    if not isinstance(module, ELMURTorchRLModule):
        raise UserError(
            f"cannot be certified: {type(module).__name__} is not ELMUR, and has no rounded memory."
        )
    options = module.network.elmur.config
    if options.memory_levels is None:
        raise UserError(
            "cannot be certified: memory_levels=None leaves memory real-valued. Train with "
            "memory_levels >= 2: a rounded memory has finitely many states."
        )
    if options.attention_window is not None:
        raise UserError(
            f"cannot be certified: attention_window={options.attention_window} lets tokens attend "
            "beyond their segment, which the search does not cover. Train with "
            "attention_window=None."
        )
    if isinstance(module.mask, ActionMask):
        raise UserError(
            "cannot be certified: action_mask=True, and the search takes no mask into account."
        )
    return module.network


def _require_bounds(network: PolicyNetwork, task: FiniteTask) -> None:
    if task.spread is not None and not isinstance(network.encoder, VectorEncoder):
        raise UserError(
            "cannot be certified: its observations have a spread, and bounds are known for vectors "
            f"only, not for what {type(network.encoder).__name__} reads."
        )


def check_config(config: AlgorithmConfig, task: Describe | None = None) -> None:
    """Raises a UserError if the policy that a config trains could not be certified."""
    env = env_maker(config.env)(evaluation_options(config.env_config, config.evaluation_config))
    spec = config.copy(copy_frozen=False).get_rl_module_spec(env=env, inference_only=True)
    _require_bounds(require_rounded(spec.build()), finite_task_of(env, task))
    env.close()


def task_of_training(settings: dict[str, Any]) -> Describe | None:
    """What described the environment to a training that certified its policy."""
    callbacks = settings.get("callbacks_class") or []
    given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    return next((task for task in (getattr(each, "task", None) for each in given) if task), None)


def _replay(module: Any, env: gym.Env, task: FiniteTask, edges: NDArray[np.int64]) -> Replay:
    """Plays the episode with the policy, as `evaluate` plays it."""
    script, correct = task.observation[edges], task.correct[edges]
    policy = plain_policy(module, Actions(env.action_space, True, False), env.observation_space)
    observation, info = env.reset(seed=0, options={"script": script})
    observations, actions, success = [], [], None
    for _ in script:
        observations.append(observation)
        actions.append(int(policy.act(observation)))
        observation, _, terminated, truncated, last = env.step(actions[-1])
        if terminated or truncated:
            success = np.asarray(last["success"]).item() if "success" in last else None
            break
    return Replay(
        info=info,
        observations=script,
        entries=task.entries,
        actions=np.asarray(actions),
        correct=correct,
        confirmed=np.array_equal(observations, script)
        and correct[np.arange(len(actions)), actions].tolist()
        == [True] * (len(script) - 1) + [False],
        success=success,
    )
