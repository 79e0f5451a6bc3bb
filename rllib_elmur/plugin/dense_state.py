"""Says once where RLlib's dense state is stored, why, and which line mends it.

RLlib's own way stores STATE_OUT with every env step. The sparse state (`plugin.connectors`) needs
an env runner and a learner connector of this package; where one of them is missing, a training is
as right as with it, and many times the bytes travel from env runners to learners.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.policy_options import PolicyOptions
from rllib_elmur.plugin.ray_versions import RANGE
from rllib_elmur.plugin.say_once import say_once
from rllib_elmur.plugin.snapshots import pack_rows


class Reason(NamedTuple):
    """Why the state is dense, and what to write so that it is sparse."""

    why: str
    mend: str


LEARNER_CONNECTOR = Reason(
    "`config.learners(learner_connector=...)` was called after `use_elmur` and replaced its "
    "learner connector",
    "Call `rllib_elmur.use_elmur(config, ...)` after `config.learners(learner_connector=...)`.",
)
OTHER_PIECES = Reason(
    "RLlib's default connector pieces are not those that pieces of this package replace",
    "Leave `add_default_connectors_to_env_to_module_pipeline` and "
    f"`add_default_connectors_to_module_to_env_pipeline` True, and use {RANGE}.",
)


def missing_names(names: list[str]) -> Reason:
    """The reason where RLlib's env runner lacks something that this package builds on."""
    return Reason(f"this version of RLlib has no {', '.join(names)}", f"Use {RANGE}.")


def other_env_runner(env_runner_cls: type | None, expected: type) -> Reason:
    """The reason where a config has an env runner of its own, or RLlib's, and not `expected`."""
    name = getattr(env_runner_cls, "__name__", env_runner_cls)
    return Reason(
        f"env_runner_cls={name} is not this package's env runner",
        "Leave `env_runner_cls` to `use_elmur`, or derive the class from "
        f"`{expected.__module__}.{expected.__name__}`.",
    )


def by_hand(name: str, model_config: Mapping[str, Any]) -> Reason:
    """The reason where a module was put into a config without `use_elmur`.

    Args:
        name: The name of the module's class.
        model_config: Its options.
    """
    arguments = "" if name == "ELMURTorchRLModule" else f", module_class={name}"
    for kind in (ELMURConfig, PolicyOptions):
        for option in kind.names():
            value = model_config.get(option, getattr(kind, option))
            if value != getattr(kind, option):
                arguments += f", {option}={value!r}"
    return Reason(
        f"{name} was put into the config by hand, and runs with RLlib's own env runner and its own "
        "learner, which has none of ELMUR's options",
        f"Call `rllib_elmur.use_elmur(config{arguments})`; a MultiRLModuleSpec that was set before "
        "stays.",
    )


def sentence(reason: Reason, elmur: ELMUR, max_seq_len: int) -> str:
    """A reason with the bytes that it costs."""
    dense, sparse = bytes_per_step(elmur, max_seq_len)
    return (
        f"ELMUR's state is stored at each step, {dense:,} bytes per env step in place of about "
        f"{sparse:,}: {reason.why}. {reason.mend}"
    )


def warn(reason: Reason, module: MemoryModule) -> None:
    """Logs a reason with the bytes that it costs, once in a process."""
    say_once(sentence(reason, module.network.elmur, module.model_config["max_seq_len"]))


def bytes_per_step(elmur: ELMUR, max_seq_len: int) -> tuple[int, int]:
    """Bytes of the state per env step: as RLlib stores it, and as snapshots of it.

    The snapshots are those in the middle of an episode: every slot is written, half a segment is
    open.
    """
    state, length = elmur.initial_state(), elmur.config.segment_length
    dense = sum(4 * part.numel() for part in state)  # RLlib narrows all numbers to 32 bits
    clock = (1 + elmur.config.n_before) * length + length // 2
    state = state._replace(
        anchors=torch.zeros_like(state.anchors), clock=torch.full_like(state.clock, clock)
    )
    [snapshot] = pack_rows(state, elmur)
    return dense, len(snapshot) // max_seq_len
