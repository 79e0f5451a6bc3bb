"""What an ELMUR policy in a config goes without, as far as the config alone tells."""

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.plugin import dense_state
from rllib_elmur.plugin.dense_state import Reason
from rllib_elmur.plugin.env_runner import ELMUREnvRunner
from rllib_elmur.plugin.module import ENVIRONMENT, is_elmur
from rllib_elmur.plugin.policy_options import PolicyOptions, as_mapping, short_sequences
from rllib_elmur.plugin.train_rows import reads_snapshots


def what_is_off(config: AlgorithmConfig) -> str | None:
    """The sentence on what a config's ELMUR policy goes without.

    Returns:
        None if nothing is off, or if no policy is ELMUR's.
    """
    found = _elmur_in(config)
    if found is None:
        return None
    name, options = found
    by_hand = ENVIRONMENT not in options and not reads_snapshots(config)
    reason = dense_state.by_hand(name, options) if by_hand else reason_in(config)
    if reason is None:
        return None
    max_seq_len = PolicyOptions.part_of(options).max_seq_len
    return dense_state.sentence(reason, ELMUR(ELMURConfig.part_of(options)), max_seq_len)


def short_sequences_in(config: AlgorithmConfig) -> str | None:
    """The sentence on training sequences in which memory gets no gradient; None if it gets some."""
    found = _elmur_in(config)
    if found is None:
        return None
    _, options = found
    max_seq_len = PolicyOptions.part_of(options).max_seq_len
    return short_sequences(max_seq_len, ELMURConfig.part_of(options).segment_length)


def _elmur_in(config: AlgorithmConfig) -> tuple[str, dict[str, Any]] | None:
    """The name of a config's first ELMUR class and its options; None if it has none."""
    spec: Any = config.rl_module_spec
    specs = spec.rl_module_specs.values() if isinstance(spec, MultiRLModuleSpec) else [spec]
    for part in specs:
        if is_elmur(part.module_class):
            options = as_mapping(config.model_config) | as_mapping(part.model_config)
            return part.module_class.__name__, options
    return None


def reason_in(config: Any) -> Reason | None:
    """Why the state will be dense; None if the config leaves it to the sparse state."""
    if config.is_multi_agent:
        return dense_state.SEVERAL_AGENTS
    if not issubclass(config.env_runner_cls or object, ELMUREnvRunner):
        return dense_state.other_env_runner(config.env_runner_cls)
    if not reads_snapshots(config):
        return dense_state.LEARNER_CONNECTOR
    return None
