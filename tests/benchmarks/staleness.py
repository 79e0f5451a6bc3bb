"""What it does to off-policy learning that the states of a train batch are some updates old.

    python tests/benchmarks/staleness.py tmaze-impala --steps 200000

Trains a tuned example. A row of a train batch that begins inside an episode starts from the state
that the env runner had there, which weights older than the learner's have written. Here the learner
also runs the episode from its start under its own weights, which is what burn-in could reach at
best. Prints, as training goes on: in how many of the memory's values the two states differ; how far
apart, over the row's steps, the policies (KL divergence) and values are that begin from one and
from the other; and beside it how far the learner's policy is from the one that acted, in these rows
and in those at an episode's start, whose state is never old.
"""

import argparse
import copy
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from results import add_save, save
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from trainings import STEPS

from rllib_elmur.cli.examples import path_of
from rllib_elmur.files import schema
from rllib_elmur.model.state import State
from rllib_elmur.plugin.columns import state_from
from rllib_elmur.plugin.rows import state_of_row
from rllib_elmur.plugin.snapshots import unpack_rows
from rllib_elmur.plugin.train_rows import LearnerConnectorBuilder

EVERY = 25_000  # env steps a line of the table


class Measure(ConnectorV2):
    """Learner piece that notes the figures of each row of a train batch, by name."""

    def __init__(self):
        super().__init__()
        self.found: defaultdict[str, list[float]] = defaultdict(list)
        self._past: dict[str, np.ndarray] = {}  # an episode's observations so far

    def __call__(self, *, rl_module: Any, batch: Any, episodes: list[Any], **kwargs: Any) -> Any:
        """Looks at the episodes and changes nothing."""
        module = rl_module[DEFAULT_MODULE_ID].unwrapped()
        # The learner's thread goes on training.
        parts = copy.deepcopy((module.network, module.vf))
        past = {}
        for episode in episodes:
            # RLlib has added a time step, whose observation is the next fragment's first, and a
            # suffix that makes the id that of a fragment.
            new = np.array(episode.get_observations(slice(0, len(episode))))[:-1]
            name = episode.id_.split("_")[0]
            seen = self._past.get(name, new[:0])
            if len(seen) == episode.t_started:
                past[name] = seen = np.concatenate([seen, new])
                self._rows(*parts, episode, seen, module.model_config["max_seq_len"])
        self._past = past
        return batch

    @torch.no_grad()
    def _rows(self, network: Any, vf: Any, episode: Any, seen: np.ndarray, size: int) -> None:
        observations = torch.from_numpy(seen)[None]
        acted = np.array(episode.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS))
        for begin in range(0, len(seen) - episode.t_started, size):
            start = episode.t_started + begin
            row = observations[:, start : start + size]
            by_actor = torch.from_numpy(acted[begin : begin + row.shape[1]])[None]
            now = network.elmur.initial_state()
            if start == 0:
                features, _ = network(row, now)
                self.found["at start: KL to actor"].append(kl(by_actor, network.pi(features)))
                continue
            snapshot, is_known = state_of_row(episode, begin)
            assert is_known
            columns = unpack_rows([snapshot], network.elmur)
            old = state_from(
                {Columns.STATE_IN: {name: torch.from_numpy(c) for name, c in columns.items()}}
            )
            assert isinstance(old, State) and old.clock == start
            _, now = network(observations[:, :start], now)
            (by_old, _), (by_now, _) = network(row, old), network(row, now)
            figures = {
                "values that differ": (old.memory != now.memory).float().mean().item(),
                "inside: KL by state": kl(network.pi(by_now), network.pi(by_old)),
                "value by state": (vf(by_now) - vf(by_old)).abs().mean().item(),
                "inside: KL to actor": kl(by_actor, network.pi(by_old)),
            }
            for name, value in figures.items():
                self.found[name].append(value)


def kl(one: Tensor, other: Tensor) -> float:
    """Mean KL divergence of policies over a Discrete action space, by logits (1, T, A)."""
    return kl_divergence(Categorical(logits=one), Categorical(logits=other)).mean().item()


def config_from(name: str, measure: Measure) -> Any:
    """The config of a tuned example of IMPALA or APPO whose learner measures."""
    (experiment,) = schema.load(path_of(name))
    config = experiment.trials[0].config
    return config.learners(learner_connector=LearnerConnectorBuilder(lambda *args: measure))


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("example", nargs="?", default="tmaze-impala")
    parser.add_argument("--steps", type=int, default=200_000, help="env steps")
    parser.add_argument("--seed", type=int, default=1)
    add_save(parser)
    return parser


def main() -> None:
    """Trains and prints the table."""
    arguments = command_line().parse_args()
    measure = Measure()
    config = config_from(arguments.example, measure).debugging(seed=arguments.seed)
    algorithm = config.build_algo()
    names = ["values that differ", "inside: KL by state", "inside: KL to actor"]
    names += ["at start: KL to actor", "value by state"]
    table = Table("env steps", "success", "rows inside", *names, "KL by state, 99th percentile")
    steps, until, rows = 0, EVERY, []
    while steps < arguments.steps:
        result = algorithm.train()
        steps = result[STEPS]
        if steps >= until and measure.found:
            found, measure.found = measure.found, defaultdict(list)
            inside = found["inside: KL by state"]
            figures = [np.mean(found[name]) for name in names] + [np.percentile(inside, 99)]
            success = result["env_runners"].get("success", np.nan)
            shown = (f"{figure:.2g}" for figure in figures)
            table.add_row(f"{steps:,.0f}", f"{success:.2f}", f"{len(inside)}", *shown)
            row = dict(zip([*names, "KL by state, 99th percentile"], figures, strict=True))
            rows.append({"env steps": steps, "success": success, "rows inside": len(inside), **row})
            save(arguments.save, rows)
            until += EVERY
            print(f"{steps:,.0f} env steps", flush=True)
    algorithm.stop()
    Console(highlight=False, width=130).print(table)


if __name__ == "__main__":
    main()
