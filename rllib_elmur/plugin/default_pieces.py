"""RLlib's default connector pieces of an env runner, which pieces of this package replace."""

from typing import Any

from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
    TensorToNumpy,
)
from ray.rllib.connectors.module_to_env import (
    GetActions,
    ListifyDataForVectorEnv,
    ModuleToAgentUnmapping,
    NormalizeAndClipActions,
    RemoveSingleTsTimeRankFromBatch,
    UnBatchToIndividualItems,
)

from rllib_elmur.plugin.agents.to_env import AddAgentSnapshots, AgentsToEnv
from rllib_elmur.plugin.agents.to_module import AgentsToModules
from rllib_elmur.plugin.connectors import AddSnapshots, BatchToEnv, BatchToModule

# Behind the user's own pieces, before the module.
TO_MODULE = [
    AddObservationsFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AddStatesFromEpisodesToBatch,
    BatchIndividualItems,
    NumpyToTensor,
]
# The same, where several agents act.
TO_MODULES = [*TO_MODULE[:3], AgentToModuleMapping, *TO_MODULE[3:]]
# Behind the module, before the user's own pieces.
FROM_MODULE = [
    GetActions,
    TensorToNumpy,
    UnBatchToIndividualItems,
    RemoveSingleTsTimeRankFromBatch,
]
# The same, where several agents act.
FROM_MODULES = [*FROM_MODULE[:3], ModuleToAgentUnmapping, *FROM_MODULE[3:]]
# Behind the user's own pieces, before the environment.
TO_ENV = [NormalizeAndClipActions, ListifyDataForVectorEnv]
# Between these in a training of several agents, and what this package puts in their place.
_AGENTS = [AgentToModuleMapping, ModuleToAgentUnmapping]
_OURS = [BatchToModule, BatchToEnv, AddSnapshots, AgentsToModules, AgentsToEnv, AddAgentSnapshots]


def is_default(piece: type) -> bool:
    """Whether a piece does no more than carry observations, states and actions."""
    return piece in (*TO_MODULE, *FROM_MODULE, *TO_ENV, *_AGENTS, *_OURS)


def user_pieces_to_module(pieces: list[Any], several_agents: bool = False) -> list[Any] | None:
    """The user's pieces of an env-to-module pipeline.

    Returns:
        None if RLlib's own pieces in it are not those of `TO_MODULE` (`TO_MODULES`).
    """
    expected = TO_MODULES if several_agents else TO_MODULE
    end = len(pieces) - len(expected)
    return pieces[:end] if _types(pieces[max(end, 0) :]) == expected else None


def user_pieces_to_env(pieces: list[Any], several_agents: bool = False) -> list[Any] | None:
    """The user's pieces of a module-to-env pipeline.

    Returns:
        None if RLlib's own pieces in it are not those of `FROM_MODULE` (`FROM_MODULES`) and
        `TO_ENV`.
    """
    first = FROM_MODULES if several_agents else FROM_MODULE
    begin, end = len(first), len(pieces) - len(TO_ENV)
    expected = _types(pieces[:begin]) == first and _types(pieces[begin:][-len(TO_ENV) :]) == TO_ENV
    return pieces[begin:end] if expected else None


def _types(pieces: list[Any]) -> list[type]:
    return [type(piece) for piece in pieces]
