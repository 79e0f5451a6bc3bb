"""The optimizer: AdamW with rates and decays of their own for the memory and the encoder."""

from typing import Any

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID, StateDict

from rllib_elmur.plugin.learner.options import LearnerOptions
from rllib_elmur.plugin.module import ELMURTorchRLModule
from rllib_elmur.plugin.rllib_internals import LR_SCALE, ScaledRates

# RLlib leaves Adam's epsilon at 1e-8. Once a task is solved, gradients are tiny and mostly noise;
# divided by their own size they become full steps, which shake the memory's code.
ADAM_EPSILON = 1e-5
_PART = "part"  # what a parameter group is of


class StableAdam(ScaledRates, TorchLearner):
    """Optimizes by AdamW with a larger epsilon and the options of `LearnerOptions`.

    One update of PPO may flip 10 to 30 of the 64 signs that a slot holds, and now and then all that
    told two hints apart. With `memory_lr_scale` 0.1 an update flips a few: what reads can follow
    what writes.

    A feature that says nothing, such as noise, has no gradient that would take its weights away:
    the policy goes on reacting to it, and in some rare sequence of it answers wrong. Under
    `encoder_weight_decay` weights of no use fade, while a gradient keeps up those of use, as long
    as there is one.
    """

    known_options = frozenset({"memory_lr_scale", "weight_decay", "encoder_weight_decay"})

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: ModuleID, config: Any = None) -> None:
        """Registers the module's optimizer, with the learning rate (schedule) of `config`."""
        module = self.module[module_id].unwrapped()
        parameters = self.get_parameters(self.module[module_id])
        own: dict[str, list[Any]] = {}
        if isinstance(module, ELMURTorchRLModule):
            network = module.network
            own = {
                "memory": network.elmur.memory_parameters(),
                "encoder": list(network.encoder.parameters()),
            }
        taken = {id(p) for part in own.values() for p in part}
        rest = "policy" if own else "other"
        parts = {rest: [p for p in parameters if id(p) not in taken], **own}
        options = _options_of_parts(LearnerOptions.of(config))
        groups = [{"params": parts[part], _PART: part, **options[part]} for part in parts]
        self.register_optimizer(
            module_id=module_id,
            # One kernel for all parameters of a group: there are many small ones.
            optimizer=torch.optim.AdamW(groups, eps=ADAM_EPSILON, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    @override(TorchLearner)
    def set_state(self, state: StateDict) -> None:
        """Restores weights and moments; the optimizer's options stay those of the config.

        The state of an optimizer brings the options along that it was saved with.
        """
        super().set_state(state)
        for module_id, _ in self.module.items():
            config = self.config.get_config_for_module(module_id)
            options = _options_of_parts(LearnerOptions.of(config))
            for _, optimizer in self.get_optimizers_for_module(module_id):
                for group in optimizer.param_groups:
                    group.update(options.get(group.get(_PART), {}))
                # A schedule goes on where it was; the first group learns at its full rate.
                fixed = isinstance(config.lr, (int, float))
                self.set_rate(optimizer, config.lr if fixed else optimizer.param_groups[0]["lr"])


def _options_of_parts(options: LearnerOptions) -> dict[Any, dict[str, float]]:
    """The options of the parameter groups, by what they are of."""
    return {
        "policy": {"weight_decay": options.weight_decay},
        "memory": {
            "weight_decay": options.weight_decay,
            LR_SCALE: options.memory_lr_scale,
        },
        "encoder": {"weight_decay": options.encoder_weight_decay},
        "other": {"weight_decay": 0.0},
    }
