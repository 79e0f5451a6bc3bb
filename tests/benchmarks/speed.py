"""What ELMUR costs beside RLlib's LSTM and MLP, and how its cost grows.

    python tests/benchmarks/speed.py                     all rows
    python tests/benchmarks/speed.py sampling update     some of them

Peers take turns within one run on one thread; figures are medians. Ratios are what carries over to
other machines. `--save NAME` keeps them. The wall time to the solved T-Maze is a row of
`learning.py`.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

from peers import (
    DEFAULTS,
    LONG,
    ROUNDS,
    Row,
    alternate,
    ppo,
    row,
    show,
    start_ray,
    stop_all,
    update_once,
)
from ray import cloudpickle
from results import add_save
from speed_of_module import episode, growth, step


def sampling() -> Iterator[Row]:
    """Env steps a second of an env runner, and bytes per env step on the way to the learner."""
    for n_envs in (16, 64):
        configs = {peer: ppo(peer, n_envs) for peer in ("ELMUR", "LSTM", "MLP")}
        configs["defaults"] = ppo("ELMUR", n_envs, **DEFAULTS)
        runners = {}
        for peer, config in configs.items():
            runner = config.env_runner_cls or _default_runner()
            runners[peer] = runner(config=config, worker_index=0, num_workers=0)
        n_steps = 128 * n_envs
        tasks = {peer: partial(r.sample, num_timesteps=n_steps) for peer, r in runners.items()}
        seconds = alternate(tasks, ROUNDS)
        rates = {peer: n_steps / value for peer, value in seconds.items()}
        for peer in ("LSTM", "MLP"):
            yield row(f"sampling, {n_envs} envs", peer, rates, "env steps/s")
            ours = {**rates, "ELMUR": rates["defaults"]}
            yield row(f"defaults: sampling, {n_envs} envs", peer, ours, "env steps/s")
        # As PPO samples: 4,000 steps an iteration.
        for runner in runners.values():
            runner.sample(num_timesteps=4000)
        sizes = {
            peer: len(cloudpickle.dumps(runner.sample(num_timesteps=4000))) / 4000
            for peer, runner in runners.items()
        }
        for peer in ("MLP", "LSTM"):
            yield row(f"bytes to the learner, {n_envs} envs", peer, sizes, "bytes/env step")
            ours = {**sizes, "ELMUR": sizes["defaults"]}
            yield row(
                f"defaults: bytes to the learner, {n_envs} envs", peer, ours, "bytes/env step"
            )


def update() -> Iterator[Row]:
    """PPO's update of one train batch of 4,000 env steps, connectors and all."""
    cases = {
        "update, n=2": {},
        "update, n=1": {"n_layers": 1},
        "update, d=128, L=16, M=4, T=64": LONG,
        "defaults: update": DEFAULTS,
    }
    for name, options in cases.items():
        algorithms = {peer: ppo(peer, **options).build_algo() for peer in ("ELMUR", "LSTM")}
        tasks = {}
        for peer, algorithm in algorithms.items():
            episodes = algorithm.env_runner.sample(num_timesteps=4000)
            tasks[peer] = partial(update_once, algorithm.learner_group, cloudpickle.dumps(episodes))
        seconds = alternate(tasks, 5)
        times = {peer: value / 4000 * 1e6 for peer, value in seconds.items()}
        yield row(name, "LSTM", times, "us/env step")
        stop_all(algorithms)


def training() -> Iterator[Row]:
    """Env steps a second of PPO, end to end."""
    for n_envs in (16, 64):
        algorithms = {
            "ELMUR": ppo("ELMUR", n_envs).build_algo(),
            "ELMUR, n=1": ppo("ELMUR", n_envs, n_layers=1).build_algo(),
            "ELMUR, defaults": ppo("ELMUR", n_envs, **DEFAULTS).build_algo(),
            "LSTM": ppo("LSTM", n_envs).build_algo(),
        }
        seconds = alternate({peer: a.train for peer, a in algorithms.items()}, ROUNDS)
        rates = {peer: 4000 / value for peer, value in seconds.items()}
        sizes = {
            "ELMUR": "training, n=2",
            "ELMUR, n=1": "training, n=1",
            "ELMUR, defaults": "defaults: training",
        }
        for peer, name in sizes.items():
            pair = {"ELMUR": rates[peer], "LSTM": rates["LSTM"]}
            yield row(f"{name}, {n_envs} envs", "LSTM", pair, "env steps/s")
        stop_all(algorithms)


def sb3() -> Iterator[Row]:
    """sb3-contrib's RecurrentPPO on the same environment, end to end."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from rllib_elmur.envs import ENVIRONMENTS

    scalar = ENVIRONMENTS["rllib_elmur/TMazePassive-v0"].scalar
    env_config = {"corridor_length": [3, 30], "penalty_rule": "standing_still"}
    envs = DummyVecEnv([lambda: scalar(**env_config)] * 16)
    policy = {"lstm_hidden_size": 64, "net_arch": [64]}
    model = RecurrentPPO(
        "MlpLstmPolicy", envs, n_steps=250, batch_size=1000, n_epochs=6, policy_kwargs=policy
    )
    model.learn(4000)
    algorithm = ppo("ELMUR", n_layers=1).build_algo()
    tasks = {
        "ELMUR": algorithm.train,
        "RecurrentPPO": lambda: model.learn(4000, reset_num_timesteps=False),
    }
    rates = {peer: 4000 / value for peer, value in alternate(tasks, 5).items()}
    yield row("training, n=1, 16 envs", "RecurrentPPO", rates, "env steps/s")
    stop_all({"": algorithm})


ROWS = {f.__name__: f for f in (sampling, step, update, training, episode, growth)}
ROWS["sb3"] = sb3


def _default_runner() -> Any:
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    return SingleAgentEnvRunner


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all but sb3 if none")
    add_save(parser)
    return parser


def main() -> None:
    """Prints the rows that the command line asks for."""
    arguments = command_line().parse_args()
    start_ray()
    names = arguments.rows or [name for name in ROWS if name != "sb3"]
    show((made for name in names for made in ROWS[name]()), arguments.save)


if __name__ == "__main__":
    main()
