"""The RLModule: ELMUR's policy network as RLlib's algorithms call it."""

import dataclasses
import inspect
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    InferenceOnlyAPI,
    TargetNetworkAPI,
    ValueFunctionAPI,
)
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import StateDict
from torch import Tensor, nn

from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.model.finite import require_finite
from rllib_elmur.model.fitting import ForeignWeights, require_fitting
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.model.state import State
from rllib_elmur.plugin import dense_state, formats
from rllib_elmur.plugin.action_mask import action_mask
from rllib_elmur.plugin.columns import LIVE_BATCH, lengths_from, state_column, state_from, widened
from rllib_elmur.plugin.distributions import action_distribution
from rllib_elmur.plugin.policy_options import as_mapping, options_of, warn_of_short_sequences
from rllib_elmur.plugin.previous import require_previous
from rllib_elmur.plugin.row_chain import ROW_NUMBER, run_rows
from rllib_elmur.plugin.saved_weights import explained

# Under this key of `model_config`, `use_elmur` leaves the environment's name for error messages.
ENVIRONMENT = "environment"
# RLlib merges settings of its own into every module's `model_config`.
RLLIB_KEYS = frozenset(option.name for option in dataclasses.fields(DefaultModelConfig))


class ELMURTorchRLModule(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI, TargetNetworkAPI):
    """A policy with ELMUR's memory, for PPO, IMPALA, APPO and others that learn on sequences.

    `model_config` takes the options of `ELMURConfig` and of `PolicyOptions`. Policy and value
    function share one pass.

    Raises:
        ValueError: If an option or a space is not valid; the message names it.
    """

    def __init__(self, *args: Any, catalog_class: Any = None, **kwargs: Any):
        # RLlib fills in the algorithm's catalog, which knows fewer spaces than this module does.
        super().__init__(*args, **kwargs)

    @override(RLModule)
    def setup(self) -> None:
        """Builds the network for the module's spaces."""
        options = as_mapping(self.model_config)
        _require_supported(options)
        config, policy = options_of(options, ignored=RLLIB_KEYS | {ENVIRONMENT})
        warn_of_short_sequences(policy.max_seq_len, config.segment_length)
        self._environment = options.get(ENVIRONMENT, "the environment")
        # Else RLlib's own learner and env runner run a module that was put in by hand.
        self.is_attached, self._is_told = ENVIRONMENT in options, False
        require_previous(self.observation_space, policy)
        # RLlib's connectors look here for the length of training sequences.
        self.model_config = {**options, "max_seq_len": policy.max_seq_len}
        self.action_dist_cls = action_distribution(self.action_space)
        n_action_inputs = self.action_dist_cls.required_input_dim(space=self.action_space)
        self.mask = action_mask(
            self.observation_space, self.action_space, policy, self._environment
        )
        self.network = PolicyNetwork(self.mask.rest, n_action_inputs, config)
        self.vf = nn.Linear(config.d_model, 1)

    @override(RLModule)
    def get_initial_state(self) -> dict[str, Tensor]:
        """Returns the state at an episode's start, without a batch axis."""
        state = state_column(self.network.elmur.initial_state())
        return {name: value[0] for name, value in state.items()}

    def get_live_batch(self, batch_size: int) -> LiveBatch:
        """Returns episodes at their start, whose state each call advances in place.

        Handed in as ``batch["live_batch"]`` it takes the place of STATE_IN: each call of
        `forward_inference` or `forward_exploration` takes one observation per episode (T = 1), in
        less time than from a STATE_IN, and returns no STATE_OUT. ``reset(rows)`` starts episodes.
        """
        elmur = self.network.elmur
        return elmur.live(elmur.initial_state(batch_size))

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        """Names the value head and APPO's target network, which acting does not need."""
        return ["vf", "target_network"]

    def train(self, mode: bool = True) -> "ELMURTorchRLModule":
        """Sets the flag alone: RLlib does so at each step, and no part behaves differently."""
        self.training = mode
        return self

    @override(TorchRLModule)
    def get_metadata(self) -> dict[str, Any]:
        """Returns what is saved beside the weights: RLlib's entries and the format number."""
        return {**super().get_metadata(), formats.KEY: formats.CHECKPOINT}

    @override(TorchRLModule)
    def restore_from_path(self, path: Any, *, filesystem: Any = None, **kwargs: Any) -> None:
        """Loads what `save_to_path` wrote.

        Raises:
            ValueError: If it has another format, or is that of a module with other sizes.
        """
        formats.require_checkpoint(path, filesystem)
        try:
            super().restore_from_path(path, filesystem=filesystem, **kwargs)
        except ForeignWeights as error:
            raise explained(error, self, path, filesystem) from error

    @override(TorchRLModule)
    def set_state(self, state: StateDict) -> None:
        """Loads weights, and refuses those of another module, which RLlib would load in part.

        Raises:
            ForeignWeights: If the weights are those of another module.
        """
        require_fitting(self.state_dict(), state, self.get_non_inference_attributes())
        super().set_state(state)
        if hasattr(self, "target_network") and not any(
            n.startswith("target_network") for n in state
        ):
            self.make_target_networks()  # the weights of an algorithm that has none

    @override(TorchRLModule)
    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Acts on observations (B, T, ...) from STATE_IN, or advances a live batch."""
        outputs: dict[str, Any] = {}
        if LIVE_BATCH in batch:
            features = self.network.step(batch[Columns.OBS], batch[LIVE_BATCH])
        else:
            features, state = self.network(
                batch[Columns.OBS], state_from(batch, self.network.elmur)
            )
            outputs[Columns.STATE_OUT] = state_column(state)
        require_finite(features, batch[Columns.OBS], self._environment)
        logits = self.network.pi(features)
        outputs[Columns.ACTION_DIST_INPUTS] = self.mask(widened(logits), batch[Columns.OBS])
        return outputs

    @override(RLModule)
    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Runs training rows (B, T, ...), with gradient and the features for `compute_values`."""
        if not self.is_attached and not self._is_told:
            self._is_told = True  # finding the words again at each update would take its time
            reason = dense_state.by_hand(type(self).__name__, self.model_config)
            dense_state.warn(reason, self)
        features, state = self._features(batch)
        observation = batch[Columns.OBS]
        if Columns.LOSS_MASK in batch:
            self.mask.require_allowed(observation, batch[Columns.LOSS_MASK])
        return {
            Columns.ACTION_DIST_INPUTS: self.mask(self.network.pi(features), observation),
            Columns.EMBEDDINGS: features,
            Columns.STATE_OUT: state_column(state),
        }

    @override(ValueFunctionAPI)
    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Returns values (B, T) of a batch, or of its features as `forward_train` returned them."""
        if embeddings is None:
            embeddings, _ = self._features(batch)
        return self.vf(embeddings).squeeze(-1)

    @override(TargetNetworkAPI)
    def make_target_networks(self) -> None:
        """Makes APPO's target network, the network of an older policy."""
        self.target_network = make_target_network(self.network)

    @override(TargetNetworkAPI)
    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Returns the network, and the target network that follows it."""
        return [(self.network, self.target_network)]

    @override(TargetNetworkAPI)
    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Runs training rows (B, T, ...) through the target network, without gradient."""
        target = self.target_network
        with torch.no_grad():
            features, _ = target(
                batch[Columns.OBS], state_from(batch, self.network.elmur), lengths_from(batch)
            )
            logits = self.mask(target.pi(features), batch[Columns.OBS])
            return {TARGET_NETWORK_ACTION_DIST_INPUTS: logits}

    def _features(self, batch: dict[str, Any]) -> tuple[Tensor, State]:
        rows = batch[Columns.OBS], state_from(batch, self.network.elmur), lengths_from(batch)
        if ROW_NUMBER in batch:
            features, state = run_rows(self.network, *rows, batch[ROW_NUMBER])
        else:
            features, state = self.network(*rows)
        # Not left to the loss: RLlib would go on with gradients of zero.
        require_finite(features, batch[Columns.OBS], self._environment)
        return features, state


def is_elmur(module_class: Any) -> bool:
    """Whether something is `ELMURTorchRLModule` or a class derived from it."""
    return inspect.isclass(module_class) and issubclass(module_class, ELMURTorchRLModule)


def _require_supported(model_config: dict[str, Any]) -> None:
    """Raises a ValueError for algorithms of which RLlib tells the module by their settings."""
    for key, algorithms in {"double_q": "DQN", "twin_q": "SAC and its kin"}.items():
        if key in model_config:
            raise ValueError(
                f"{algorithms} (model_config[{key!r}]={model_config[key]!r}): not supported by "
                "ELMUR, which has no Q-network. Use an algorithm with a value function on "
                "sequences, such as PPO."
            )
