"""What keeps an env runner from the sparse state."""

from typing import Any

from rllib_elmur.plugin import default_pieces, dense_state
from rllib_elmur.plugin.rllib_internals import RunnerInternals, pipelines
from rllib_elmur.plugin.train_rows import reads_snapshots


def obstacle(runner: Any, several_agents: bool = False) -> dense_state.Reason | None:
    """Why the state has to travel at each step; None if it has not.

    Args:
        runner: An env runner of RLlib's, with RLlib's pipelines.
        several_agents: Whether it is one of several agents.
    """
    if not reads_snapshots(runner.config):
        return dense_state.LEARNER_CONNECTOR
    missing = RunnerInternals(runner).missing
    if missing:
        return dense_state.missing_names(missing)
    before, after = (pipeline.connectors for pipeline in pipelines(runner))
    if (
        default_pieces.user_pieces_to_module(before, several_agents) is None
        or default_pieces.user_pieces_to_env(after, several_agents) is None
    ):
        return dense_state.OTHER_PIECES
    return None
