"""`load_policy`: a trained policy from a checkpoint."""

from pathlib import Path
from typing import Any

from rllib_elmur.acting.policy import Policy


def load_policy(
    checkpoint: str | Path, *, module_id: str | None = None, agent_id: Any = None
) -> Policy:
    """Loads a trained policy that takes what an environment returns and gives what it takes.

    Args:
        checkpoint: An algorithm's checkpoint, or a folder of results (its newest one).
        module_id: The id of the policy's module, in a training of several agents.
        agent_id: The agent for which it acts, where a module acts for several and each has
            connectors with statistics of its own.

    Returns:
        The policy, at the start of an episode.

    Raises:
        UserError: If there is no checkpoint, or one that cannot be used; the message says why.
    """
    from rllib_elmur.acting.checkpoint import policy_of
    from rllib_elmur.plugin import checkpoints

    return policy_of(checkpoints.load(Path(checkpoint), module_id), agent_id)
