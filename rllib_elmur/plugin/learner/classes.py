"""The learner of each algorithm, and the options that it knows."""

from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.learner.learner import Learner

from rllib_elmur.config import ELMURConfig
from rllib_elmur.plugin.learner.advantage_floor import AdvantageFloor
from rllib_elmur.plugin.learner.bootstrapping import Bootstrapping
from rllib_elmur.plugin.learner.lasting_kl import LastingKL
from rllib_elmur.plugin.learner.optimizer import StableAdam
from rllib_elmur.plugin.learner.watch import StateWatch


class StablePPOTorchLearner(StateWatch, StableAdam, LastingKL, AdvantageFloor):
    """PPO's learner with ELMUR's optimizer, a lasting KL coefficient and an advantage floor."""


# RLlib's IMPALALearner and TorchLearner disagree about the signature of `remove_module`.
class StableIMPALATorchLearner(  # ty: ignore[incompatible-method-override]
    StateWatch, StableAdam, Bootstrapping
):
    """IMPALA's learner with ELMUR's optimizer and a bootstrap at the end of fragments."""


# RLlib's APPOLearner and TorchLearner disagree about it as well.
class StableAPPOTorchLearner(  # ty: ignore[incompatible-method-override]
    StateWatch, StableAdam, LastingKL, Bootstrapping, APPOTorchLearner
):
    """APPO's learner with ELMUR's optimizer, a lasting KL coefficient and a bootstrap."""


_STABLE: dict[type[Learner], type[Learner]] = {
    PPOTorchLearner: StablePPOTorchLearner,
    IMPALATorchLearner: StableIMPALATorchLearner,
    APPOTorchLearner: StableAPPOTorchLearner,
}


def stable_learner(learner_class: type[Learner]) -> type[Learner]:
    """The learner class to use in place of RLlib's `learner_class`; itself if there is none."""
    return _STABLE.get(learner_class, learner_class)


# Which learners know an option, and the algorithms that have them.
_LEARNER_OPTIONS = {
    "memory_lr_scale": (StableAdam, "PPO, IMPALA and APPO"),
    "weight_decay": (StableAdam, "PPO, IMPALA and APPO"),
    "encoder_weight_decay": (StableAdam, "PPO, IMPALA and APPO"),
    "advantage_std_floor": (AdvantageFloor, "PPO"),
}


def check_learner(learner_class: type[Learner], elmur: ELMURConfig) -> None:
    """Raises a ValueError for an option that is set and that the learner does not know."""
    for name, (knowing, algorithms) in _LEARNER_OPTIONS.items():
        value, neutral = getattr(elmur, name), getattr(ELMURConfig, name)
        if value != neutral and not issubclass(learner_class, knowing):
            raise ValueError(
                f"{name}={value}: {learner_class.__name__} does not know it. Allowed with it is "
                f"{neutral}; ELMUR's learners for {algorithms} know others."
            )
