"""A policy's greedy actions in N environments: handed to the module, or through its connectors."""

import copy
from typing import Any, cast

import numpy as np
import torch
import tree
from gymnasium.vector import VectorEnv
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.spaces.space_utils import unbatch
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_elmur.errors import UserError
from rllib_elmur.plugin.checkpoints import Policy, algorithm_config
from rllib_elmur.plugin.columns import LIVE_BATCH, each_leaf
from rllib_elmur.plugin.connectors import to_bounds
from rllib_elmur.plugin.environments import require_spaces
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.ray_files import pipelines_of
from rllib_elmur.plugin.rllib_internals import freeze_filters

_STEPS_KEPT = 100  # of a running episode: far enough back for connectors that stack observations


def actor_of(policy: Policy, envs: VectorEnv) -> "ModuleActor | ConnectorActor":
    """The actor that a policy needs: its connectors are used where it was trained with any.

    Raises:
        UserError: If the policy was trained for other spaces than the environments have.
    """
    return ConnectorActor(policy, envs) if policy.connectors else ModuleActor(policy, envs)


class ModuleActor:
    """Hands observations to the module as they are; keeps its recurrent state batched."""

    def __init__(self, policy: Policy, envs: VectorEnv):
        require_spaces(
            policy.module,
            envs.single_observation_space,
            envs.single_action_space,
            f"{policy.path}: ",
        )
        self._module, self._n = policy.module, envs.num_envs
        self._distribution = policy.module.get_inference_action_dist_cls()
        self._to_bounds = to_bounds(
            policy.module.action_space,
            policy.settings.get("normalize_actions", True),
            policy.settings.get("clip_actions", False),
        )
        self._state: dict[str, Any] = {}
        if isinstance(policy.module, ELMURTorchRLModule):
            self._state[LIVE_BATCH] = policy.module.get_live_batch(envs.num_envs)
        elif initial := policy.module.get_initial_state():
            self._state[Columns.STATE_IN] = tree.map_structure(
                lambda s: torch.stack([torch.as_tensor(s)] * envs.num_envs), initial
            )

    def begin(self, observations: Any, infos: dict[str, Any]) -> Any:
        """The first actions, after a reset."""
        return self._act(observations, np.ones(self._n, bool))

    def go_on(
        self,
        observations: Any,
        rewards: np.ndarray,
        terminateds: np.ndarray,
        truncateds: np.ndarray,
        infos: dict[str, Any],
    ) -> Any:
        """The next actions, after a step."""
        return self._act(observations, ~(terminateds | truncateds))

    def _act(self, observation: Any, acting: np.ndarray) -> Any:
        _require_allowed(self._module, observation, acting)
        if self._state:  # stateful modules read (batch, time, ...)
            observation = each_leaf(lambda x: x[:, None], observation)
        batch: dict[str, Any] = {Columns.OBS: convert_to_torch_tensor(observation)}
        with torch.inference_mode():
            output = self._module.forward_inference(batch | self._state)
            if Columns.STATE_OUT in output:
                self._state[Columns.STATE_IN] = output[Columns.STATE_OUT]
            action = output.get(Columns.ACTIONS)
            if action is None:
                logits = output[Columns.ACTION_DIST_INPUTS]
                distribution = self._distribution.from_logits(
                    logits[:, 0] if self._state else logits
                )
                action = distribution.to_deterministic().sample()
        action = convert_to_numpy(action)
        return action if self._to_bounds is None else self._to_bounds(action)


class ConnectorActor:
    """Keeps the running episodes for the connectors of the training, as RLlib's env runner does.

    What the connectors learned in training is frozen: filters are applied and not updated.
    """

    def __init__(self, policy: Policy, envs: VectorEnv):
        self._module, self._envs, self._n = policy.module, envs, envs.num_envs
        config, spaces = algorithm_config(policy), _spaces_of(envs)
        self._to_module = config.build_env_to_module_connector(envs, spaces, torch.device("cpu"))
        self._to_env = config.build_module_to_env_connector(envs, spaces)
        require_spaces(
            policy.module,
            self._to_module.observation_space,
            envs.single_action_space,
            f"{policy.path}: ",
        )
        pipelines = self._to_module, self._to_env
        for pipeline, folder in zip(pipelines, pipelines_of(policy.path), strict=True):
            pipeline.restore_from_path(folder)
            freeze_filters(pipeline)
        self._learned = {p: copy.deepcopy(p.get_state()) for p in pipelines}
        self._shared: dict[str, Any] = {}
        self._metrics = MetricsLogger()
        self._episodes: list[SingleAgentEpisode] = []

    def begin(self, observations: Any, infos: dict[str, Any]) -> Any:
        """The first actions, after a reset."""
        columns = {Columns.OBS: unbatch(observations), Columns.INFOS: _unbatched(infos, self._n)}
        self._episodes = [self._begun(*items) for items in zip(*columns.values(), strict=True)]
        return self._act(columns)

    def go_on(
        self,
        observations: Any,
        rewards: np.ndarray,
        terminateds: np.ndarray,
        truncateds: np.ndarray,
        infos: dict[str, Any],
    ) -> Any:
        """The next actions, after a step."""
        columns = {
            Columns.OBS: unbatch(observations),
            Columns.ACTIONS: self._actions,
            Columns.REWARDS: rewards,
            Columns.TERMINATEDS: terminateds,
            Columns.TRUNCATEDS: truncateds,
            Columns.INFOS: _unbatched(infos, self._n),
        }
        for i, items in enumerate(zip(*columns.values(), strict=True)):
            self._add(i, *items)
        return self._act(columns)

    def _add(
        self, i: int, observation: Any, action: Any, reward: Any, end: Any, cut_off: Any, info: Any
    ) -> None:
        """Adds a time step to an episode, or begins the one after it."""
        episode = self._episodes[i]
        if episode.is_done:  # this step has reset its environment
            self._episodes[i] = self._begun(observation, info)
            return
        episode.add_env_step(
            observation,
            action,
            reward,
            info,
            terminated=bool(end),
            truncated=bool(cut_off),
            extra_model_outputs={name: column[i] for name, column in self._outputs.items()},
        )
        if len(episode) >= _STEPS_KEPT and not episode.is_done:
            # A recurrent state is stored with every step.
            self._episodes[i] = episode.cut(_STEPS_KEPT)

    def _begun(self, observation: Any, info: dict[str, Any]) -> SingleAgentEpisode:
        episode = SingleAgentEpisode(
            observation_space=self._envs.single_observation_space,
            action_space=self._envs.single_action_space,
        )
        episode.add_env_reset(observation, info)
        return episode

    def _act(self, columns: dict[str, Any]) -> Any:
        with torch.inference_mode():
            batch = self._through(self._to_module, {}, **columns)
            acting = np.array([not episode.is_done for episode in self._episodes])
            _require_allowed(self._module, batch[Columns.OBS], acting[:, None])
            outputs = self._through(self._to_env, self._module.forward_inference(batch))
        actions = outputs.pop(Columns.ACTIONS)
        self._actions, self._outputs = unbatch(actions), outputs
        return outputs.pop(Columns.ACTIONS_FOR_ENV, actions)

    def _through(self, pipeline: ConnectorV2, batch: dict[str, Any], **columns: Any) -> Any:
        batch = pipeline(
            rl_module=self._module,
            batch=batch,
            episodes=cast("list[Any]", self._episodes),
            explore=False,
            shared_data=self._shared,
            metrics=self._metrics,
            **columns,
        )
        if self._learned[pipeline]:
            pipeline.set_state(copy.deepcopy(self._learned[pipeline]))
        return batch


def _require_allowed(module: Any, observation: Any, acting: np.ndarray) -> None:
    """Raises a UserError if a policy's action mask forbids every action where it acts."""
    if isinstance(module, ELMURTorchRLModule):
        try:
            module.mask.require_allowed(observation, acting)
        except ValueError as error:
            raise UserError(str(error)) from error


def _spaces_of(envs: VectorEnv) -> dict[str, Any]:
    return {
        INPUT_ENV_SPACES: (envs.observation_space, envs.action_space),
        INPUT_ENV_SINGLE_SPACES: (envs.single_observation_space, envs.single_action_space),
    }


def _unbatched(infos: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """The infos of a vector environment, one for each of its environments."""
    return [_info_of(infos, row) for row in range(num_envs)]


def _info_of(infos: dict[str, Any], row: int) -> dict[str, Any]:
    info = {}
    for name, values in infos.items():
        present = infos.get(f"_{name}")
        if not name.startswith("_") and (present is None or present[row]):
            info[name] = _info_of(values, row) if isinstance(values, dict) else values[row]
    return info
