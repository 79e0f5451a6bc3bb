"""The options of this package's learners, which travel in RLlib's `learner_config_dict`."""

from dataclasses import dataclass
from typing import Any, TypedDict

from rllib_elmur.config import Options, Search, option


@dataclass(frozen=True)
class LearnerOptions(Options):
    """The options of the learners of PPO, IMPALA and APPO."""

    memory_lr_scale: float = option(
        0.5, "Learning rate of what is written, as a share of the rest's; 0.1 is steadier.", low=0.0
    )
    weight_decay: float = option(
        0.0, "Decoupled weight decay (AdamW) of all but the encoder, per step and rate.", low=0.0
    )
    encoder_weight_decay: float = option(
        0.0, "The same for the observation's encoder: inputs that say nothing fade.", low=0.0
    )
    advantage_floor: float = option(
        0.3, "PPO scales up less what deviates less than this share of the returns.", low=0.0
    )

    @classmethod
    def of(cls, config: Any) -> "LearnerOptions":
        """The options in an algorithm's config."""
        return cls.part_of(config.learner_config_dict)


class LearnerArguments(TypedDict, total=False):
    """The options of `LearnerOptions` as keyword arguments, for an editor to complete."""

    memory_lr_scale: float | Search
    weight_decay: float | Search
    encoder_weight_decay: float | Search
    advantage_floor: float | Search
