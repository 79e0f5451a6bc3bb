"""The policy of an algorithm's checkpoint, ready to act."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.connectors.common.flatten_observations import FlattenObservations
from ray.rllib.connectors.common.frame_stacking import FrameStacking
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.utils.filter import RunningStat
from ray.rllib.utils.numpy import SMALL_NUMBER

from rllib_elmur.acting.actions import Actions, Seed
from rllib_elmur.acting.connectors import ConnectorActor, Pipelines
from rllib_elmur.acting.inputs import Flatten, Normalize, Piece, Previous
from rllib_elmur.acting.module import RunningModule
from rllib_elmur.acting.network import RunningNetwork
from rllib_elmur.acting.policy import PlainActor, Policy
from rllib_elmur.errors import UserError
from rllib_elmur.model.nested import spaces_of
from rllib_elmur.plugin.checkpoints import Checkpoint, algorithm_config
from rllib_elmur.plugin.default_pieces import is_default
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.previous import PreviousInput

# Pieces of RLlib's that read no reward; one of the user's may.
_WITHOUT_REWARD = {FlattenObservations, FrameStacking, MeanStdFilter}


def policy_of(checkpoint: Checkpoint, agent_id: Any = None, seed: int | None = None) -> Policy:
    """Makes the policy of a checkpoint, at the start of an episode.

    Args:
        checkpoint: From `checkpoints.load`.
        agent_id: In a training of several agents, the one for which it acts; None: any whose
            module it is.
        seed: Of the actions that an ELMUR policy draws; others draw by PyTorch's generator.

    Raises:
        UserError: If its connectors cannot be built or need an agent that is not named.
    """
    config = algorithm_config(checkpoint)
    spaces = checkpoint.observation_space, checkpoint.action_space
    if not config.is_multi_agent:
        return policy_for(checkpoint, spaces, seed=seed)
    agent = _agent(checkpoint, config, agent_id)
    return policy_for(checkpoint, (spaces[0][agent], spaces[1][agent]), agent, seed)


def policy_for(
    checkpoint: Checkpoint, spaces: tuple[Any, Any], agent: Any = None, seed: Seed = None
) -> Policy:
    """Makes the policy of a checkpoint with these spaces, for an agent if there are several."""
    module: Any = checkpoint.module
    config = algorithm_config(checkpoint)
    pieces: list[Piece] = []
    if checkpoint.connectors:
        pipelines = _pipelines(checkpoint, config)
        others = _others(pipelines)
        plain = {piece: plain_piece(piece, agent) for piece in others}
        by_rllib = [piece for piece in others if plain[piece] is None]
        if by_rllib and config.is_multi_agent:
            raise UserError(
                f"{checkpoint.path}: acts behind the connectors "
                f"{', '.join(checkpoint.connectors)}; for one of several agents only previous "
                "action and reward, MeanStdFilter on a Box and FlattenObservations can be used."
            )
        if by_rllib:
            reads_reward = any(type(piece) not in _WITHOUT_REWARD for piece in others)
            return Policy(ConnectorActor(module, pipelines, by_rllib, reads_reward), *spaces)
        pieces = [piece for piece in plain.values() if piece is not None]
    settings = checkpoint.settings
    flags = settings.get("normalize_actions", True), settings.get("clip_actions", False)
    return plain_policy(module, Actions(spaces[1], *flags, seed), spaces[0], pieces)


def plain_policy(
    module: Any, actions: Actions, observation_space: gym.Space, pieces: Sequence[Piece] = ()
) -> Policy:
    """Makes the policy of a module, behind pieces that need no RLlib."""
    if type(module) is ELMURTorchRLModule:
        running = RunningNetwork(module.network, module.mask, actions)
    else:
        running = RunningModule(module)
    return Policy(PlainActor(running, pieces, actions), observation_space, actions.space)


def plain_piece(piece: Any, agent_id: Any = None) -> Piece | None:
    """The plain data of a connector piece; None if only RLlib can run it."""
    _, options = piece.get_ctor_args_and_kwargs()
    if type(piece) is PreviousInput:
        return Previous(options["action"], options["reward"])
    if type(piece) is MeanStdFilter:
        return _normalize(piece.get_state()[agent_id])
    if type(piece) is FlattenObservations:
        space = piece.input_observation_space
        space = space if agent_id is None else space[agent_id]
        is_whole = options["agent_ids"] is None and not options["keys_to_remove"]
        return Flatten(space) if is_whole and _flattens(space) else None
    return None


def _normalize(learned: dict[str, Any]) -> Normalize | None:
    """What an RLlib filter has learned; None if it is one of several parts, or of categories."""
    if not isinstance(learned["shape"], np.ndarray) or learned["shape"].dtype == object:
        return None
    statistics = RunningStat.from_state(learned["running_stats"][0])
    return Normalize(
        np.asarray(statistics.mean) if learned["de_mean_to_zero"] else None,
        np.asarray(statistics.std + SMALL_NUMBER) if learned["de_std_to_one"] else None,
        learned["clip_by_value"],
    )


def _flattens(space: Any) -> bool:
    """Whether categories are counted from 0 and stand in one axis, as RLlib expects it."""
    return all(
        not np.any(getattr(part, "start", 0)) and getattr(part, "nvec", np.zeros(1)).ndim == 1
        for _, part in spaces_of(space)
    )


def _others(pipelines: Pipelines) -> list[Any]:
    """The pieces that are not RLlib's own."""
    pieces = [*pipelines.to_module.connectors, *pipelines.to_env.connectors]
    return [piece for piece in pieces if not is_default(type(piece))]


def _pipelines(checkpoint: Checkpoint, config: Any) -> Pipelines:
    spaces = checkpoint.observation_space, checkpoint.action_space
    try:
        return Pipelines(config, checkpoint.path, *spaces)
    except Exception as error:
        raise UserError(
            f"{checkpoint.path}: its connectors {', '.join(checkpoint.connectors)} cannot be built "
            f"without the environment: {type(error).__name__}: {error}"
        ) from error


def _agent(checkpoint: Checkpoint, config: Any, agent_id: Any) -> Any:
    """The agent whose spaces and statistics a module gets, in a training of several."""
    agents = list(checkpoint.observation_space.spaces)
    mapping: Any = config.policy_mapping_fn
    try:
        own = [agent for agent in agents if mapping(agent, None) == checkpoint.module_id]
    except Exception:  # it may look at the episode, of which there is none
        own = agents if agent_id is not None else []
    if agent_id is None and len(own) == 1:
        return own[0]
    if agent_id in own:
        return agent_id
    if agent_id is None and own and not checkpoint.connectors:
        return own[0]  # they differ in what connectors have learned alone
    raise UserError(
        f"{checkpoint.path}: agent_id={agent_id!r}: the module {checkpoint.module_id!r} acts for "
        f"{', '.join(map(repr, own or agents))}, each behind connectors of its own: name one."
    )
