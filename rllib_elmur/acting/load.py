"""`load_policy`: a trained policy from a checkpoint."""

from pathlib import Path
from typing import Any

from rllib_elmur.acting import saved
from rllib_elmur.acting.policy import Policy
from rllib_elmur.errors import UserError
from rllib_elmur.plugin.ray_versions import require_ray


def load_policy(
    checkpoint: str | Path, *, module_id: str | None = None, agent_id: Any = None
) -> Policy:
    """Loads a trained policy that takes what an environment returns and gives what it takes.

    Args:
        checkpoint: An algorithm's checkpoint, a folder of results (its newest one), or a folder
            that `Policy.save` wrote, which needs no Ray.
        module_id: The id of the policy's module, in a training of several agents.
        agent_id: The agent for which it acts, where a module acts for several and each has
            connectors with statistics of its own.

    Returns:
        The policy, at the start of an episode.

    Raises:
        UserError: If there is no checkpoint, or one that cannot be used; the message says why.
        ModuleNotFoundError: If Ray is needed and not installed.
    """
    folder = Path(checkpoint).expanduser()
    if saved.is_saved(folder):
        if module_id is not None or agent_id is not None:
            raise UserError(f"{folder}: a saved policy is one, without `module_id` or `agent_id`.")
        return saved.load(folder)
    require_ray()
    from rllib_elmur.acting.checkpoint import policy_of
    from rllib_elmur.plugin import checkpoints

    return policy_of(checkpoints.load(Path(checkpoint), module_id), agent_id)
