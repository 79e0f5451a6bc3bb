"""One training of the suite: a task, a policy and a seed, in a process of its own."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import results
from suite_tasks import LSTM, Task

from rllib_elmur import PAPER, PPO_SETTINGS, ELMURConfig
from rllib_elmur.plugin.learner.options import LearnerOptions

# PPO's settings, for all policies.
SETTINGS: dict[str, Any] = {
    **PPO_SETTINGS,
    "num_envs_per_env_runner": 16,
    "max_seq_len": 64,
    "mean_std_filter": False,  # on observations
    "previous_action": False,  # read with each observation
}
# But an LSTM learns more at a constant rate: RepeatPreviousEasy 0.88, going down 0.78.
LSTM_SETTINGS = {"lr": 5e-4}
POLICIES = ("elmur", "paper", "lstm")


@dataclass(frozen=True)
class Job:
    """What a training is to do.

    Attributes:
        name: The task's.
        task: The task.
        policy: One of `POLICIES`.
        label: What tells this variant of the policy from others; the policy itself if nothing.
        model: Options of the policy: ELMUR's, or those of RLlib's `DefaultModelConfig`.
        settings: Changes to `SETTINGS` for this run.
        seed: The seed.
        steps: Env steps.
    """

    name: str
    task: Task
    policy: str
    label: str
    seed: int
    steps: int
    model: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} {self.label} seed {self.seed}"

    def file(self, folder: Path) -> Path:
        """Where its results stand."""
        task, label = (re.sub(r"[^\w.-]+", "-", name) for name in (self.name, self.label))
        return folder / task / f"{label}-{self.seed}.json"

    def described(self) -> dict[str, Any]:
        """All that decides how the training goes, as JSON knows it."""
        of_lstm = self.policy == "lstm"
        settings = {**SETTINGS, **(LSTM_SETTINGS if of_lstm else {}), **self.task.settings}
        papers = {**PAPER, "memory_lr_scale": 1.0, "advantage_floor": 0.0}
        own = {"lstm": self.task.lstm, "paper": papers}.get(self.policy, {})
        return {
            "task": self.name,
            "env": self.task.env,
            "env_config": self.task.env_config,
            "policy": self.policy,
            "label": self.label,
            "seed": self.seed,
            "steps": self.steps,
            "model": {**own, **self.model},
            "defaults": {} if of_lstm else {**vars(ELMURConfig()), **vars(LearnerOptions())},
            "settings": {**settings, **self.settings},
        }


def config_of(job: Job) -> Any:
    """The algorithm's config of a training."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    from rllib_elmur import use_elmur
    from rllib_elmur.plugin.success import SuccessMetric
    from rllib_elmur.plugin.use import use_vector_form

    described = job.described()
    settings = described["settings"]
    max_seq_len, filtered = settings.pop("max_seq_len"), settings.pop("mean_std_filter")
    previous = settings.pop("previous_action")
    config = PPOConfig().environment(job.task.env, env_config=job.task.env_config)
    config.env_runners(
        num_env_runners=0, num_envs_per_env_runner=settings.pop("num_envs_per_env_runner")
    )
    config.learners(num_learners=0).debugging(seed=job.seed).callbacks(SuccessMetric)
    config.training(**settings)
    pieces = _connectors(config, job.policy == "lstm", filtered, previous)
    if pieces:
        config.env_runners(env_to_module_connector=lambda *_, **__: [make() for make in pieces])
    if job.policy == "lstm":
        use_vector_form(config)
        options = {**LSTM, "max_seq_len": max_seq_len, **described["model"]}
        return config.rl_module(model_config=DefaultModelConfig(**options))
    own = {"max_seq_len": max_seq_len, "previous_action": previous}
    return use_elmur(config, **{**own, **described["model"]})


def _connectors(
    config: Any, is_lstm: bool, filtered: bool, previous: bool
) -> list[Callable[[], Any]]:
    """RLlib's own networks need flat observations; filters are for every policy.

    What RLlib has for previous actions adds rewards as well, so the LSTM gets ELMUR's piece.
    """
    from gymnasium.spaces import Box
    from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter

    from rllib_elmur.plugin.environments import env_maker
    from rllib_elmur.plugin.previous import PreviousInput

    pieces: list[Callable[[], Any]] = []
    if is_lstm:
        env = env_maker(config.env)(dict(config.env_config))
        if previous:
            pieces.append(partial(PreviousInput, action=True, reward=False))
        if previous or not isinstance(env.observation_space, Box):
            pieces.append(FlattenObservations)
        env.close()
    return [*pieces, MeanStdFilter] if filtered else pieces


def points(job: Job) -> Iterator[dict[str, Any]]:
    """Trains; yields a point of the learning curve after each iteration."""
    import ray
    import torch

    torch.set_num_threads(1)
    ray.init(
        address="local",  # not a cluster that happens to run here
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200_000_000,
    )
    algorithm, seconds, steps = config_of(job).build_algo(), 0.0, 0
    while steps < job.steps:
        begin = time.perf_counter()
        result = algorithm.train()
        seconds += time.perf_counter() - begin
        steps = int(result["num_env_steps_sampled_lifetime"])
        sampled = result["env_runners"]
        yield {
            "env steps": steps,
            "return": _number(sampled.get("episode_return_mean")),
            "success": _number(sampled.get("success")),
            "seconds": round(seconds, 2),
        }
    algorithm.stop()
    ray.shutdown()


def _number(value: Any) -> float | None:
    """A figure that JSON knows; None where no episode has ended."""
    return None if value is None or value != value else round(float(value), 5)


def train(job: Job, folder: Path, tell: Callable[[tuple[Job, dict[str, Any]]], None]) -> None:
    """Trains, tells each point of the curve, and writes the file of the results."""
    from rllib_elmur.plugin.process import quiet

    curve = []
    with quiet():
        for point in points(job):
            curve.append(point)
            tell((job, point))
    results.write(job.file(folder), job.file(folder).stem, curve, run=job.described())
