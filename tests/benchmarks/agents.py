"""What ELMUR costs beside RLlib's LSTM where several agents act, in PPO.

    python tests/benchmarks/agents.py                     all rows
    python tests/benchmarks/agents.py training            some of them

Two agents walk through a T-Maze each, in one multi-agent environment, with one policy for both or
one each; so agents leave an episode at different times. Peers take turns within one run on one
thread; figures are medians, and their ratios are what carries over to other machines. `--save NAME`
keeps them.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

from peers import (
    OPTIONS,
    ROUNDS,
    TRAINING,
    Row,
    alternate,
    row,
    show,
    start_ray,
    stop_all,
    update_once,
)
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.multi_agent_env import make_multi_agent
from results import add_save

import rllib_elmur
from rllib_elmur.envs import ENVIRONMENTS

MAZE = {"corridor_length": [3, 30], "penalty_rule": "standing_still"}
POLICIES = {"one policy": ("shared", "shared"), "two policies": ("first", "second")}
FORM = {"n_layers": 1, **OPTIONS}  # as in `speed.py`: L=5, M=2, attention inside the segment
N_ENVS, N_STEPS = 8, 2000  # env steps of a train batch, in each of which two agents act


def maze(config: Any) -> Any:
    """A T-Maze of a single agent."""
    return ENVIRONMENTS["rllib_elmur/TMazePassive-v0"].scalar(**MAZE)


def ppo(peer: str, policies: str, **options: Any) -> PPOConfig:
    """The PPO config of a peer, "ELMUR" with one layer or "LSTM"; options are ELMUR's."""
    names = POLICIES[policies]
    config = PPOConfig().environment(make_multi_agent(maze), env_config={"num_agents": 2})
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=N_ENVS)
    config.multi_agent(
        policies=set(names), policy_mapping_fn=lambda agent, episode, **_: names[agent]
    )
    config.learners(num_learners=0)
    config.training(train_batch_size_per_learner=N_STEPS, **TRAINING)
    if peer == "ELMUR":
        return rllib_elmur.use_elmur(config, max_seq_len=35, **options)
    model = DefaultModelConfig(fcnet_hiddens=[64], use_lstm=True, lstm_cell_size=64, max_seq_len=35)
    return config.rl_module(model_config=model)


def sampling(policies: str) -> Iterator[Row]:
    """Env steps a second of an env runner, and bytes per env step on the way to the learner."""
    runners = {peer: _runner(ppo(peer, policies, **FORM)) for peer in ("ELMUR", "LSTM")}
    tasks = {peer: partial(r.sample, num_timesteps=N_STEPS) for peer, r in runners.items()}
    seconds = alternate(tasks, ROUNDS)
    rates = {peer: N_STEPS / value for peer, value in seconds.items()}
    yield row(f"sampling, {policies}", "LSTM", rates, "env steps/s")
    sizes = {peer: len(cloudpickle.dumps(task())) / N_STEPS for peer, task in tasks.items()}
    yield row(f"bytes to the learner, {policies}", "LSTM", sizes, "bytes/env step")


def update(policies: str) -> Iterator[Row]:
    """PPO's update of one train batch, connectors and all."""
    algorithms = {peer: ppo(peer, policies, **FORM).build_algo() for peer in ("ELMUR", "LSTM")}
    tasks = {}
    for peer, algorithm in algorithms.items():
        episodes = algorithm.env_runner.sample(num_timesteps=N_STEPS)
        tasks[peer] = partial(update_once, algorithm.learner_group, cloudpickle.dumps(episodes))
    seconds = alternate(tasks, ROUNDS)
    times = {peer: value / N_STEPS * 1e6 for peer, value in seconds.items()}
    yield row(f"update, {policies}", "LSTM", times, "us/env step")
    stop_all(algorithms)


def training(policies: str) -> Iterator[Row]:
    """Env steps a second of PPO, end to end."""
    algorithms = {
        "ELMUR": ppo("ELMUR", policies, **FORM).build_algo(),
        "defaults": ppo("ELMUR", policies).build_algo(),
        "LSTM": ppo("LSTM", policies).build_algo(),
    }
    seconds = alternate({peer: a.train for peer, a in algorithms.items()}, ROUNDS)
    rates = {peer: N_STEPS / value for peer, value in seconds.items()}
    yield row(f"training, {policies}", "LSTM", rates, "env steps/s")
    at_defaults = {"ELMUR": rates["defaults"], "LSTM": rates["LSTM"]}
    yield row(f"training at the defaults, {policies}", "LSTM", at_defaults, "env steps/s")
    stop_all(algorithms)


ROWS = {f.__name__: f for f in (sampling, update, training)}


def _runner(config: PPOConfig) -> Any:
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    return (config.env_runner_cls or MultiAgentEnvRunner)(config=config, worker_index=0)


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all if none")
    add_save(parser)
    return parser


def main() -> None:
    """Prints the rows that the command line asks for."""
    arguments = command_line().parse_args()
    start_ray()
    names = arguments.rows or ROWS
    rows = (made for name in names for policies in POLICIES for made in ROWS[name](policies))
    show(rows, arguments.save)


if __name__ == "__main__":
    main()
