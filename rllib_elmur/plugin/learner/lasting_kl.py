"""A KL coefficient that does not vanish."""

from typing import Any

from ray.rllib.algorithms.appo.appo import LEARNER_RESULTS_CURR_KL_COEFF_KEY
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override

from rllib_elmur.plugin.rllib_internals import OwnKLUpdate


class LastingKL(OwnKLUpdate, TorchLearner):
    """Keeps the KL coefficient at the config's `kl_coeff` or above.

    Of a solved task, advantages are the errors of the value function. Where the value function
    expects too much, correct actions have negative advantages: their probability falls until PPO's
    clip takes their gradient away, and updates from other actions let it fall further (from 0.92 to
    0.01 in one update). The KL loss (`use_kl_loss`) keeps the probability up. RLlib's adaptive
    coefficient would have gone to zero by then.
    """

    @override(OwnKLUpdate)
    def kl_coeff_updated(self, module_id: str, config: Any, coefficient: Any) -> None:
        """Raises the coefficient to the config's, and reports it."""
        coefficient.clamp_(min=config.kl_coeff)
        key = module_id, LEARNER_RESULTS_CURR_KL_COEFF_KEY
        self.metrics.log_value(key, coefficient.item(), window=1)
