"""What one act of a trained policy costs on one core, beside RLlib's own recipe for acting.

It is the time that a thread computes, which other work on the machine lengthens less.

RLlib's recipe is that of its example `policy_inference_after_training_w_connector.py`: restored
pipelines, a restored module, and an episode that is kept by hand.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import ray
from peers import resident, start_ray, status_of
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

import rllib_elmur

ENV, OPTIONS = "rllib_elmur/TMazePassive-v0", {"corridor_length": 1_000_000, "slack": 3.0}
ROUNDS = 15


def save(folder: Path) -> None:
    """Saves an algorithm with the default options."""
    config = PPOConfig().environment(ENV, env_config=OPTIONS).env_runners(num_env_runners=0)
    algo = rllib_elmur.use_elmur(config).build_algo()
    algo.env_runner.sample(num_timesteps=10)
    algo.save_to_path(str(folder))
    algo.stop()


def policy_step(folder: Path, n_sessions: int) -> Callable[[], None]:
    """An act of one session; of several, they take turns."""
    policy, observation = rllib_elmur.load_policy(folder), observed()[None]
    rows = [[row] for row in range(n_sessions)]
    for row in rows:
        policy.act(observation, rows=row)

    def step() -> None:
        rows.append(rows.pop(0))
        policy.act(observation, rows=rows[0])

    return step


def recipe_step(folder: Path) -> Callable[[], None]:
    """An act by RLlib's own recipe, without the step of the environment."""
    runner = folder / "env_runner"
    to_module = EnvToModulePipeline.from_checkpoint(str(runner / "env_to_module_connector"))
    to_env = ModuleToEnvPipeline.from_checkpoint(str(runner / "module_to_env_connector"))
    modules = folder / "learner_group" / "learner" / "rl_module"
    module: Any = RLModule.from_checkpoint(str(modules / "default_policy"))
    env = gym.make(ENV, **OPTIONS)
    observation, _ = env.reset(seed=0)
    episode = SingleAgentEpisode(
        observations=[observation],
        observation_space=env.observation_space,
        action_space=env.action_space,
    )

    def step() -> None:
        shared: dict[str, Any] = {}
        given: dict[str, Any] = {"episodes": [episode], "explore": False, "shared_data": shared}
        batch = to_module(rl_module=module, batch={}, **given)
        outputs = to_env(rl_module=module, batch=module.forward_inference(batch), **given)
        action = outputs.pop(Columns.ACTIONS)[0]
        outputs.pop(Columns.ACTIONS_FOR_ENV, None)
        extra = {name: column[0] for name, column in outputs.items()}
        episode.add_env_step(observation, action, 0.0, extra_model_outputs=extra)

    return step


def observed() -> Any:
    """An observation."""
    return gym.make(ENV, **OPTIONS).reset(seed=0)[0]


def milliseconds(step: Callable[[], None], n_steps: int) -> float:
    """The mean of some steps."""
    start = time.thread_time()
    for _ in range(n_steps):
        step()
    return (time.thread_time() - start) / n_steps * 1e3


def memory(folder: Path, n_steps: int) -> None:
    """Prints the resident memory at steps of one episode that are ten times apart."""
    policy, observation, mark = rllib_elmur.load_policy(folder), observed(), 1_000
    for t in range(1, n_steps + 1):
        policy.act(observation)
        if t in (mark, n_steps):
            print(f"{resident(status_of()):.1f} MiB after {t:,} steps", flush=True)
            mark = 10 * t


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="acts between looks at the clock")
    parser.add_argument("--memory", type=int, help="one episode of so many steps, and its memory")
    return parser


def main() -> None:
    """Measures the ways in turns."""
    arguments = command_line().parse_args()
    start_ray(num_cpus=1)
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        ray.shutdown()
        if arguments.memory:
            memory(Path(folder), arguments.memory)
            return
        ways = {
            "one session": policy_step(Path(folder), 1),
            "one of 64 sessions": policy_step(Path(folder), 64),
            "RLlib's recipe": recipe_step(Path(folder)),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, step in ways.items():
                times[name].append(milliseconds(step, arguments.steps))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        ratio = medians["RLlib's recipe"] / medians[name]
        print(
            f"{name}: {medians[name]:.3f} ms per act (least {min(values):.3f}); "
            f"RLlib's recipe takes {ratio:.2f} of it"
        )


if __name__ == "__main__":
    main()
