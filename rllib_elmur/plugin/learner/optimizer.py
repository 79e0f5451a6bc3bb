"""The optimizer: AdamW with rates and decays of their own for the memory and the encoder."""

from typing import Any

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID

from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.rllib_internals import LR_SCALE, ScaledRates

# RLlib leaves Adam's epsilon at 1e-8. Once a task is solved, gradients are tiny and mostly noise;
# divided by their own size they become full steps, which shake the memory's code.
ADAM_EPSILON = 1e-5


class StableAdam(ScaledRates, TorchLearner):
    """Optimizes by AdamW with a larger epsilon and ELMUR's options.

    One update of PPO may flip 10 to 30 of the 64 signs that a slot holds, and now and then all that
    told two hints apart. With `memory_lr_scale` 0.1 an update flips a few: what reads can follow
    what writes.

    A feature that says nothing, such as noise, has no gradient that would take its weights away:
    the policy goes on reacting to it, and in some rare sequence of it answers wrong. Under
    `encoder_weight_decay` weights of no use fade, while a gradient keeps up those of use, as long
    as there is one.
    """

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: ModuleID, config: Any = None) -> None:
        """Registers the module's optimizer, with the learning rate (schedule) of `config`."""
        module = self.module[module_id].unwrapped()
        parameters = self.get_parameters(self.module[module_id])
        groups: list[dict[str, Any]] = [{"params": parameters}]
        decay = 0.0
        if isinstance(module, ELMURTorchRLModule):
            network, options = module.network, module.network.elmur.config
            decay = options.weight_decay
            own: list[dict[str, Any]] = [
                {"params": network.elmur.memory_parameters(), LR_SCALE: options.memory_lr_scale},
                {
                    "params": list(network.encoder.parameters()),
                    "weight_decay": options.encoder_weight_decay,
                },
            ]
            taken = {id(p) for group in own for p in group["params"]}
            groups = [{"params": [p for p in parameters if id(p) not in taken]}, *own]
        self.register_optimizer(
            module_id=module_id,
            # One kernel for all parameters of a group: there are many small ones.
            optimizer=torch.optim.AdamW(groups, eps=ADAM_EPSILON, weight_decay=decay, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )
