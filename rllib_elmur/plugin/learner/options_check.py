"""What a learner of this package makes sure of, whatever was set after `use_elmur`."""

from collections.abc import Mapping
from typing import Any

from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override

from rllib_elmur.config import check_names
from rllib_elmur.errors import OptionError
from rllib_elmur.plugin import dense_state, review
from rllib_elmur.plugin.learner.options import LearnerOptions
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.say_once import say_once
from rllib_elmur.plugin.search_spaces import is_search_space

_ALGORITHMS = {"advantage_floor": "PPO"}
_UNKNOWN = {"memory_lr_scale": 1.0}  # what a learner does that does not know an option, if not 0


def check_learner(learner_class: type[Learner], given: Mapping[str, Any]) -> None:
    """Checks a `learner_config_dict`.

    A learner class knows the options that it or a base class lists in its attribute
    `known_options`. A learner of the user's may read other keys, too.

    Raises:
        OptionError: If an option is out of range, if it is set and the learner does not know it,
            or if a key is no option of one of this package's learners.
    """
    if learner_class.__module__.split(".")[0] == "rllib_elmur":
        check_names(given, LearnerOptions.names())
    known = {name for base in learner_class.__mro__ for name in vars(base).get("known_options", ())}
    for name in LearnerOptions.names():
        neutral = _UNKNOWN.get(name, 0.0)
        value = given.get(name, neutral)
        if not is_search_space(value):
            LearnerOptions.check(name, value)
        if value != neutral and name not in known:
            of = _ALGORITHMS.get(name, "PPO, IMPALA, APPO, BC and MARWIL")
            raise OptionError(
                f"{name}={value}: {learner_class.__name__} does not know it. Allowed with it is "
                f"{neutral}; ELMUR's learners for {of} know others.",
                name,
            )


class OptionsCheck(TorchLearner):
    """Checks the learner's options, and warns of what a training goes without.

    That is the KL loss, or a state that does not have to be stored at each step.

    Raises:
        OptionError: If an option in `learner_config_dict` is unknown or out of range, or if
            minibatches are too small for a training sequence.
    """

    @override(TorchLearner)
    def build(self) -> None:
        """Builds the learner."""
        check_learner(type(self), self.config.learner_config_dict)
        review.require_whole_rows(self.config)
        super().build()
        modules = [module.unwrapped() for _, module in self.module.items()]
        elmurs = [module for module in modules if isinstance(module, ELMURTorchRLModule)]
        for module in elmurs:
            module.is_attached = True
        missing = review.missing_kl_loss_in(self.config)
        if missing is not None:
            say_once(missing)
        reason = review.reason_in(self.config)
        # What it says of the learner connector, the env runner says.
        if elmurs and reason is not None and reason is not dense_state.LEARNER_CONNECTOR:
            dense_state.warn(reason, elmurs[0])
