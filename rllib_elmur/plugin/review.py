"""What an ELMUR policy in a config goes without, as far as the config alone tells."""

import dataclasses
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.plugin import dense_state
from rllib_elmur.plugin.dense_state import Reason
from rllib_elmur.plugin.env_runner import ELMUREnvRunner
from rllib_elmur.plugin.module import ENVIRONMENT, is_elmur
from rllib_elmur.plugin.policy_options import PolicyOptions
from rllib_elmur.plugin.rllib_internals import connector_builders
from rllib_elmur.plugin.train_rows import LearnerConnectorBuilder


def what_is_off(config: AlgorithmConfig) -> str | None:
    """The sentence on what a config's ELMUR policy goes without.

    Returns:
        None if nothing is off, or if no policy is ELMUR's.
    """
    spec: Any = config.rl_module_spec
    specs = spec.rl_module_specs.values() if isinstance(spec, MultiRLModuleSpec) else [spec]
    for part in specs:
        if is_elmur(part.module_class):
            options = part.model_config or {}
            if dataclasses.is_dataclass(options):
                options = dataclasses.asdict(options)
            options = {**(config.model_config or {}), **options}
            return _sentence(config, part.module_class.__name__, options)
    return None


def _sentence(config: AlgorithmConfig, name: str, options: dict[str, Any]) -> str | None:
    by_hand = ENVIRONMENT not in options and not _is_ours(config)
    reason = dense_state.by_hand(name, options) if by_hand else reason_in(config)
    if reason is None:
        return None
    max_seq_len = PolicyOptions.part_of(options).max_seq_len
    return dense_state.sentence(reason, ELMUR(ELMURConfig.part_of(options)), max_seq_len)


def reason_in(config: Any) -> Reason | None:
    """Why the state will be dense; None if the config leaves it to the sparse state."""
    if config.is_multi_agent:
        return dense_state.SEVERAL_AGENTS
    if not issubclass(config.env_runner_cls or object, ELMUREnvRunner):
        return dense_state.other_env_runner(config.env_runner_cls)
    if not _is_ours(config):
        return dense_state.LEARNER_CONNECTOR
    return None


def _is_ours(config: Any) -> bool:
    """Whether a config has the learner connector of `use_elmur`."""
    return isinstance(connector_builders(config)[1], LearnerConnectorBuilder)
