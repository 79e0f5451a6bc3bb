"""What an ELMUR policy in a config goes without, as far as the config alone tells."""

from typing import Any, NamedTuple

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from rllib_elmur.config import ELMURConfig
from rllib_elmur.errors import OptionError
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.plugin import dense_state
from rllib_elmur.plugin.agents.runner import ELMURMultiAgentEnvRunner
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
    first = _first_elmur_in(config)
    if first is None:
        return None
    name, options = first
    by_hand = ENVIRONMENT not in options and not reads_snapshots(config)
    reason = dense_state.by_hand(name, options) if by_hand else reason_in(config)
    if reason is None:
        return None
    max_seq_len = PolicyOptions.part_of(options).max_seq_len
    return dense_state.sentence(reason, ELMUR(ELMURConfig.part_of(options)), max_seq_len)


def short_sequences_in(config: AlgorithmConfig) -> str | None:
    """The sentence on training sequences in which memory gets no gradient; None if it gets some."""
    first = _first_elmur_in(config)
    if first is None:
        return None
    max_seq_len = PolicyOptions.part_of(first.options).max_seq_len
    return short_sequences(max_seq_len, ELMURConfig.part_of(first.options).segment_length)


def missing_kl_loss_in(config: AlgorithmConfig) -> str | None:
    """The sentence on a PPO without its KL loss; None if it has it, or trains no ELMUR."""
    if not isinstance(config, PPOConfig) or config.use_kl_loss or not elmurs_in(config):
        return None
    return (
        "use_kl_loss=False: without the KL loss what was learned is lost now and then (POPGym's "
        "RepeatFirstEasy fell from a return of 0.997 to 0.59). use_kl_loss=True, RLlib's default, "
        "keeps it."
    )


def require_whole_rows(config: AlgorithmConfig) -> None:
    """Refuses minibatches that are too small for one training sequence.

    RLlib puts ``int(rows * minibatch_size / steps)`` rows into a minibatch. That is none where the
    rows of a train batch are longer than a minibatch, and the loss then lacks its columns.

    Raises:
        OptionError: If a train batch of the config may be of such rows.
    """
    max_seq_len = _max_seq_len_of(config)
    if config.minibatch_size is None or max_seq_len is None:
        return
    longest, least = max_seq_len, max_seq_len
    if config.batch_mode == "truncate_episodes":
        # With the step of the bootstrap value, which RLlib adds to each fragment.
        fragment = config.get_rollout_fragment_length() + 1
        longest = min(max_seq_len, fragment)
        # Of rows that are all full RLlib's product may be a little less than 1.
        least = longest + (fragment % longest == 0)
    if config.minibatch_size < least:
        raise OptionError(
            f"minibatch_size={config.minibatch_size} is too small for training sequences of up to "
            f"{longest} steps (max_seq_len={max_seq_len}): RLlib would make minibatches without "
            f"any. minibatch_size must be >= {least}, or max_seq_len smaller, which costs "
            "nothing where episodes are shorter.",
            *("minibatch_size", "max_seq_len"),
        )


def _max_seq_len_of(config: AlgorithmConfig) -> int | None:
    """The longest training sequence of a config's modules with memory; None if it has no such."""
    elmurs = elmurs_in(config).values()
    lengths = [PolicyOptions.part_of(elmur.options).max_seq_len for elmur in elmurs]
    of_rllib = as_mapping(config.model_config)
    if not lengths and of_rllib.get("use_lstm"):
        lengths = [of_rllib.get("max_seq_len", DefaultModelConfig.max_seq_len)]
    return max(lengths, default=None)


class ElmurInConfig(NamedTuple):
    """An ELMUR module of a config: the name of its class, and its options."""

    class_name: str
    options: dict[str, Any]


def elmurs_in(config: AlgorithmConfig) -> dict[str, ElmurInConfig]:
    """The ELMUR modules of a config, by their ids."""
    spec: Any = config.rl_module_spec
    several = isinstance(spec, MultiRLModuleSpec)
    specs = spec.rl_module_specs if several else {DEFAULT_MODULE_ID: spec}
    return {
        module_id: ElmurInConfig(
            part.module_class.__name__,
            as_mapping(config.model_config) | as_mapping(part.model_config),
        )
        for module_id, part in specs.items()
        if is_elmur(part.module_class)
    }


def _first_elmur_in(config: AlgorithmConfig) -> ElmurInConfig | None:
    return next(iter(elmurs_in(config).values()), None)


def reason_in(config: Any) -> Reason | None:
    """Why the state will be dense; None if the config leaves it to the sparse state."""
    expected = ELMURMultiAgentEnvRunner if config.is_multi_agent else ELMUREnvRunner
    if not issubclass(config.env_runner_cls or object, expected):
        return dense_state.other_env_runner(config.env_runner_cls, expected)
    if not reads_snapshots(config):
        return dense_state.LEARNER_CONNECTOR
    return None
