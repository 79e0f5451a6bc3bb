"""The one line that puts ELMUR into an RLlib config."""

from typing import Any, cast

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.search.sample import Domain

from rllib_elmur.config import ELMURConfig
from rllib_elmur.envs import ENVIRONMENTS
from rllib_elmur.plugin.env_runner import ELMUREnvRunner
from rllib_elmur.plugin.learner.classes import check_learner, stable_learner
from rllib_elmur.plugin.module import ENVIRONMENT, ELMURTorchRLModule
from rllib_elmur.plugin.previous import with_previous
from rllib_elmur.plugin.rllib_internals import env_to_module_builder, learner_connector_builder
from rllib_elmur.plugin.train_rows import with_snapshots


def use_elmur(config: AlgorithmConfig, **options: Any) -> AlgorithmConfig:
    """Makes an algorithm's policy an ELMUR policy.

    This sets the `RLModuleSpec`, the connector of `previous_action` and `previous_reward` where
    they are asked for, the env runner and the learner connector of the sparse state (see
    `plugin.connectors`; a config with an env runner of its own or of several agents keeps RLlib's
    way), the vector form of this package's environments, and, unless the config has a learner of
    its own, a learner that leaves the memory's code in peace (see `plugin.learner`). IMPALA and
    APPO get an environment in the driver: RLlib samples there while no remote env runner lives.

    Args:
        config: A config of an algorithm that learns a value function on whole sequences (PPO and
            its kin), on RLlib's new API stack. It is changed in place.
        **options: Options of `ELMURConfig`, or search spaces of Tune in their place
            (``tune.choice([5, 10])``).

    Returns:
        The config, for chaining.

    Raises:
        ValueError: If an option is unknown or out of range, if the algorithm is not supported, or
            if the config is set to the old API stack.
    """
    ELMURConfig.check_names(options)
    searched = {name: value for name, value in options.items() if _is_search_space(value)}
    fixed = {name: value for name, value in options.items() if name not in searched}
    # Which values fit together shows when Tune has chosen; then the module checks them.
    elmur = ELMURConfig(**({} if searched else fixed))
    if not (config.enable_rl_module_and_learner and config.enable_env_runner_and_connector_v2):
        raise ValueError(
            "enable_rl_module_and_learner and enable_env_runner_and_connector_v2 must be True: "
            "ELMUR needs RLlib's new API stack (`config.api_stack(...)`, its default)."
        )
    _require_supported(config)
    config.env_runners(
        env_to_module_connector=with_previous(env_to_module_builder(config), options)
    )
    learner_class = stable_learner(config.learner_class)
    check_learner(learner_class, elmur)
    config.learners(
        learner_class=learner_class,
        learner_connector=with_snapshots(learner_connector_builder(config)),
    )
    if isinstance(config, IMPALAConfig):  # or APPO's
        # While no remote env runner lives, RLlib samples here, and fails without an environment.
        config.env_runners(create_env_on_local_worker=True)
    if config.env_runner_cls is None and not config.is_multi_agent:
        config.env_runners(env_runner_cls=ELMUREnvRunner)
    # A choice made with the enum, or after this call, stands.
    if config.gym_env_vectorize_mode == "sync":
        use_vector_form(config)
    # RLlib lays the spec's options over the config's. Tune searches in the config only, and RLlib's
    # offline data pipeline reads `max_seq_len` there.
    fixed = {"max_seq_len": elmur.max_seq_len} | fixed
    if config.env is not None:
        fixed[ENVIRONMENT] = f"the environment {getattr(config.env, '__name__', config.env)}"
    spec = RLModuleSpec(
        module_class=ELMURTorchRLModule,
        model_config={name: value for name, value in fixed.items() if name not in searched},
    )
    model_config = {"max_seq_len": fixed["max_seq_len"]} | searched
    return config.rl_module(rl_module_spec=spec, model_config=model_config)


def use_vector_form(config: AlgorithmConfig) -> None:
    """Gives this package's environments their own vector form, for which RLlib never asks."""
    if config.env in ENVIRONMENTS:
        config.env_runners(gym_env_vectorize_mode="vector_entry_point")


def _is_search_space(value: Any) -> bool:
    """Whether Tune is to put a value in this one's place."""
    return isinstance(value, Domain) or (isinstance(value, dict) and "grid_search" in value)


def _require_supported(config: AlgorithmConfig) -> None:
    """Raises if the algorithm's learner asks for what the module does not offer."""
    if config.algo_class is None:
        raise ValueError(
            f"{type(config).__name__} is the config of no algorithm: use that of one with a value "
            "function on sequences, such as PPOConfig."
        )
    learner = cast("type[Learner]", config.get_default_learner_class())
    missing = [
        api.__name__
        for api in learner.rl_module_required_apis()
        if not issubclass(ELMURTorchRLModule, api)
    ]
    if missing:
        name = getattr(config.algo_class, "__name__", type(config).__name__)
        raise ValueError(
            f"{name} is not supported by ELMUR: its learner needs {', '.join(missing)}. "
            "Use an algorithm with a value function on sequences, such as PPO."
        )
