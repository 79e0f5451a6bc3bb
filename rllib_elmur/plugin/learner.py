"""Learners whose Adam does not turn the noise of a solved task into steps."""

from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID

# RLlib leaves Adam's epsilon at 1e-8. Once a task is solved, gradients are tiny and mostly noise;
# divided by their own size they become full steps, which shake the memory's code.
ADAM_EPSILON = 1e-5


class _StableAdam(TorchLearner):
    """Adam with a larger epsilon; all else as the algorithm's own learner."""

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: ModuleID, config: Any = None) -> None:
        """Registers the module's optimizer, with the learning rate (schedule) of `config`."""
        parameters = self.get_parameters(self.module[module_id])
        self.register_optimizer(
            module_id=module_id,
            # One kernel for all parameters: there are many small ones.
            optimizer=torch.optim.Adam(parameters, eps=ADAM_EPSILON, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )


class StablePPOTorchLearner(_StableAdam, PPOTorchLearner):
    """PPO's learner with `ADAM_EPSILON`."""


_STABLE: dict[type[Learner], type[Learner]] = {PPOTorchLearner: StablePPOTorchLearner}


def stable_learner(learner_class: type[Learner]) -> type[Learner]:
    """The learner class to use in place of RLlib's `learner_class`; itself if there is none."""
    return _STABLE.get(learner_class, learner_class)
