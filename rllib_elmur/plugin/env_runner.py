"""The env runner whose pipelines keep the state of running episodes in one live batch."""

from typing import Any, cast

from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    BatchIndividualItems,
    NumpyToTensor,
    TensorToNumpy,
)
from ray.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
from ray.rllib.connectors.module_to_env import (
    GetActions,
    ListifyDataForVectorEnv,
    NormalizeAndClipActions,
    RemoveSingleTsTimeRankFromBatch,
    UnBatchToIndividualItems,
)
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_elmur.plugin.connectors import (
    AddSnapshots,
    BatchToEnv,
    BatchToModule,
    LearnerConnectorBuilder,
)
from rllib_elmur.plugin.module import ELMURTorchRLModule

_TO_MODULE = [
    AddObservationsFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AddStatesFromEpisodesToBatch,
    BatchIndividualItems,
    NumpyToTensor,
]
_FROM_MODULE = [
    GetActions,
    TensorToNumpy,
    UnBatchToIndividualItems,
    RemoveSingleTsTimeRankFromBatch,
]
_TO_ENV = [NormalizeAndClipActions, ListifyDataForVectorEnv]


class ELMUREnvRunner(SingleAgentEnvRunner):
    """RLlib's env runner with sparse state (`rllib_elmur.plugin.connectors`).

    RLlib builds the pipelines, pieces of the user's in their places; then this runner replaces
    RLlib's default pieces. Where these are not what it expects, where the module is not ELMUR's or
    the learner would not understand snapshots, all stays RLlib's, with STATE_OUT at each step.

    Raises:
        ValueError: If the config is one of several agents.
    """

    def __init__(self, *, config: Any, **kwargs: Any):
        if config.is_multi_agent:
            raise ValueError(
                "env_runner_cls=ELMUREnvRunner is for one agent: call `use_elmur` after "
                "`config.multi_agent(...)`, or `config.env_runners(env_runner_cls=None)`."
            )
        super().__init__(config=config, **kwargs)
        env_to_module = cast("ConnectorPipelineV2", self._env_to_module)
        module_to_env = cast("ConnectorPipelineV2", self._module_to_env)
        to_module, to_env = env_to_module.connectors, module_to_env.connectors
        if (
            not isinstance(self.module, ELMURTorchRLModule)
            or not isinstance(config._learner_connector, LearnerConnectorBuilder)
            or _types(to_module[-len(_TO_MODULE) :]) != _TO_MODULE
            or _types(to_env[: len(_FROM_MODULE)]) != _FROM_MODULE
            or _types(to_env[-len(_TO_ENV) :]) != _TO_ENV
        ):
            return
        batch_to_module = BatchToModule()
        batch_to_module.device = self._device
        del to_module[-len(_TO_MODULE) :]
        env_to_module.append(batch_to_module)
        if len(to_env) > len(_FROM_MODULE) + len(_TO_ENV):
            module_to_env.insert_after(_FROM_MODULE[-1], AddSnapshots())
        else:
            to_env.clear()
            module_to_env.append(
                BatchToEnv(
                    normalize_actions=config.normalize_actions, clip_actions=config.clip_actions
                )
            )


def _types(pieces: list[Any]) -> list[type]:
    return [type(piece) for piece in pieces]
