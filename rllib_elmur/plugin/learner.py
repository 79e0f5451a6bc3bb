"""Learners whose Adam leaves a memory's code in peace."""

from typing import Any

import torch
from ray.rllib.algorithms.appo.appo import LEARNER_RESULTS_CURR_KL_COEFF_KEY
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID

from rllib_elmur.config import ELMURConfig
from rllib_elmur.plugin.module import ELMURTorchRLModule

# RLlib leaves Adam's epsilon at 1e-8. Once a task is solved, gradients are tiny and mostly noise;
# divided by their own size they become full steps, which shake the memory's code.
ADAM_EPSILON = 1e-5
_SCALE = "lr_scale"


@torch.no_grad()
def _values(module: Any, batch: dict[str, Any], fwd_out: dict[str, Any]) -> torch.Tensor:
    """What the value function says now, (B, T), to compute with and not to train."""
    return module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))


class _StableAdam(TorchLearner):
    """Adam with a larger epsilon and ELMUR's options; else the algorithm's own learner.

    One update of PPO may flip 10 to 30 of the 64 signs that a slot holds, and now and then all that
    told two hints apart. With `memory_lr_scale` 0.1 it is a few: what reads can follow what writes.

    A feature that says nothing, such as noise, has no gradient that would take its weights away:
    the policy goes on reacting to it, and in some rare sequence of it answers wrong. Under
    `encoder_weight_decay` what is of no use fades, while what is of use is kept up by its gradient,
    as long as it has one.
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
                {"params": network.elmur.memory_parameters(), _SCALE: options.memory_lr_scale},
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

    @staticmethod
    @override(TorchLearner)
    def _set_optimizer_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get(_SCALE, 1.0)


class _LastingKL(TorchLearner):
    """A KL coefficient that does not vanish.

    Of a solved task, advantages are the errors of the value function. Where it hopes for too much,
    all right actions look wrong: their probability falls until PPO's clip silences their gradient,
    and nothing brings it back while what was learned from others drags it on (from 0.92 to 0.01 in
    one update). The KL loss (`use_kl_loss`) brings it back. RLlib's adaptive coefficient would have
    gone to zero by then; here it does not fall below the config's `kl_coeff`.
    """

    curr_kl_coeffs_per_module: Any

    def _update_module_kl_coeff(self, *, module_id: ModuleID, config: Any, **kwargs: Any) -> None:
        # That of the algorithm's learner, which stands behind this class.
        super()._update_module_kl_coeff(  # ty: ignore[missing-attribute]
            module_id=module_id, config=config, **kwargs
        )
        coefficient = self.curr_kl_coeffs_per_module[module_id].clamp_(min=config.kl_coeff)
        key = module_id, LEARNER_RESULTS_CURR_KL_COEFF_KEY
        self.metrics.log_value(key, coefficient.item(), window=1)


class _AdvantageFloor(PPOTorchLearner):
    """Advantages that are not scaled up where nothing is left to gain.

    RLlib divides them by their standard deviation. Of a solved task that is the errors of the value
    function, which thus become steps as large as those that found the task's solution. Under
    `advantage_std_floor` they are divided by no less than it.
    """

    @override(PPOTorchLearner)
    def compute_loss_for_module(
        self, *, module_id: ModuleID, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The algorithm's loss."""
        module: Any = self.module[module_id].unwrapped()
        elmur = isinstance(module, ELMURTorchRLModule)
        if elmur and (floor := module.network.elmur.config.advantage_std_floor):
            # Those of the batch come scaled; targets less values are as large as they were.
            errors = batch[Columns.VALUE_TARGETS] - _values(module, batch, fwd_out)
            errors = errors[batch[Columns.LOSS_MASK].bool()]
            scale = (errors.std(correction=0) / floor).clamp(max=1.0)
            batch = {**batch, Columns.ADVANTAGES: batch[Columns.ADVANTAGES] * scale}
        return super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )


class StablePPOTorchLearner(_StableAdam, _LastingKL, _AdvantageFloor):
    """PPO's learner with all three."""


class _Bootstrapping(IMPALATorchLearner):
    """V-trace that bootstraps where a rollout fragment ends.

    RLlib appends one time step to each fragment, masked, whose value is the bootstrap. Its V-trace
    gives that step a temporal difference of minus this value, which cancels it in the targets of
    the fragment: an episode that goes on counts as one that is over. With the value itself as the
    step's reward the difference is zero.
    """

    @override(IMPALATorchLearner)
    def compute_loss_for_module(
        self, *, module_id: ModuleID, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The algorithm's loss."""
        module: Any = self.module[module_id].unwrapped()
        values = _values(module, batch, fwd_out)
        rewards = torch.where(batch[Columns.LOSS_MASK].bool(), batch[Columns.REWARDS], values)
        return super().compute_loss_for_module(
            module_id=module_id,
            config=config,
            batch={**batch, Columns.REWARDS: rewards},
            fwd_out=fwd_out,
        )


# RLlib's IMPALALearner and TorchLearner disagree about the signature of `remove_module`.
class StableIMPALATorchLearner(_StableAdam, _Bootstrapping):  # ty: ignore[incompatible-method-override]
    """IMPALA's learner with both."""


# RLlib's APPOLearner and TorchLearner disagree about it as well.
class StableAPPOTorchLearner(  # ty: ignore[incompatible-method-override]
    _StableAdam, _LastingKL, _Bootstrapping, APPOTorchLearner
):
    """APPO's learner with all three."""


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
    "memory_lr_scale": (_StableAdam, "PPO, IMPALA and APPO"),
    "weight_decay": (_StableAdam, "PPO, IMPALA and APPO"),
    "encoder_weight_decay": (_StableAdam, "PPO, IMPALA and APPO"),
    "advantage_std_floor": (_AdvantageFloor, "PPO"),
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
