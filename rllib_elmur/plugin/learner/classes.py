"""The learner of each algorithm."""

from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.algorithms.marwil.torch.marwil_torch_learner import MARWILTorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.learner.learner import Learner

from rllib_elmur.plugin.learner.advantage_floor import AdvantageFloor
from rllib_elmur.plugin.learner.bootstrapping import Bootstrapping
from rllib_elmur.plugin.learner.lasting_kl import LastingKL
from rllib_elmur.plugin.learner.optimizer import StableAdam
from rllib_elmur.plugin.learner.options_check import OptionsCheck
from rllib_elmur.plugin.learner.recorded_episodes import FromEpisodes


class StablePPOTorchLearner(OptionsCheck, StableAdam, LastingKL, AdvantageFloor):
    """PPO's learner with ELMUR's optimizer, a lasting KL coefficient and an advantage floor."""


# RLlib's IMPALALearner and TorchLearner disagree about the signature of `remove_module`.
class StableIMPALATorchLearner(  # ty: ignore[incompatible-method-override]
    OptionsCheck, StableAdam, Bootstrapping
):
    """IMPALA's learner with ELMUR's optimizer and a bootstrap at the end of fragments."""


# RLlib's APPOLearner and TorchLearner disagree about it as well.
class StableAPPOTorchLearner(  # ty: ignore[incompatible-method-override]
    OptionsCheck, StableAdam, LastingKL, Bootstrapping, APPOTorchLearner
):
    """APPO's learner with ELMUR's optimizer, a lasting KL coefficient and a bootstrap."""


# RLlib's MARWILLearner and TorchLearner disagree about it as well.
class StableMARWILTorchLearner(  # ty: ignore[incompatible-method-override]
    OptionsCheck, StableAdam, FromEpisodes, MARWILTorchLearner
):
    """The learner of BC and MARWIL, with ELMUR's optimizer and batches of whole episodes."""


_STABLE: dict[type[Learner], type[Learner]] = {
    PPOTorchLearner: StablePPOTorchLearner,
    IMPALATorchLearner: StableIMPALATorchLearner,
    APPOTorchLearner: StableAPPOTorchLearner,
    MARWILTorchLearner: StableMARWILTorchLearner,
}


def stable_learner(learner_class: type[Learner]) -> type[Learner]:
    """The learner class to use in place of RLlib's `learner_class`; itself if there is none."""
    return _STABLE.get(learner_class, learner_class)
