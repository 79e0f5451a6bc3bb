"""The one line that puts ELMUR into an RLlib config."""

from collections.abc import Collection
from functools import partial
from typing import Any, TypeVar, Unpack, cast

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_elmur.config import ELMURConfig, ModelArguments, check_names
from rllib_elmur.envs import ENVIRONMENTS
from rllib_elmur.errors import OptionError
from rllib_elmur.plugin import ray_versions
from rllib_elmur.plugin.agents.runner import ELMURMultiAgentEnvRunner
from rllib_elmur.plugin.env_runner import ELMUREnvRunner
from rllib_elmur.plugin.environments import importable_id
from rllib_elmur.plugin.learner.classes import stable_learner
from rllib_elmur.plugin.learner.options import LearnerArguments, LearnerOptions
from rllib_elmur.plugin.learner.options_check import check_learner
from rllib_elmur.plugin.learner.recorded_episodes import FromEpisodes
from rllib_elmur.plugin.module import ENVIRONMENT, ELMURTorchRLModule, is_elmur
from rllib_elmur.plugin.policy_options import (
    PolicyArguments,
    PolicyOptions,
    as_mapping,
    warn_of_short_sequences,
)
from rllib_elmur.plugin.previous import RecordedSpace, with_previous
from rllib_elmur.plugin.recordings import RecordedEpisodes
from rllib_elmur.plugin.rllib_internals import connector_builders
from rllib_elmur.plugin.search_spaces import is_search_space
from rllib_elmur.plugin.train_rows import with_snapshots

Config = TypeVar("Config", bound=AlgorithmConfig)


class Arguments(ModelArguments, PolicyArguments, LearnerArguments, total=False):
    """Options of the model, of the policy beside it and of the learner."""


def use_elmur(
    config: Config,
    *,
    module_class: type[ELMURTorchRLModule] = ELMURTorchRLModule,
    **options: Unpack[Arguments],
) -> Config:
    """Makes an algorithm's policy an ELMUR policy.

    This sets the `RLModuleSpec`, the connector of `previous_action` and `previous_reward`, the env
    runner and the learner connector of the sparse state (see `plugin.connectors`), the learner (see
    `plugin.learner`) and the vector form of this package's environments. An env runner or a learner
    of the config's own stays. A `MultiRLModuleSpec` with ELMUR modules stays, and these modules get
    the options. IMPALA and APPO get an environment in the driver, where RLlib samples while no
    remote env runner lives. The id of another package's environment gets its module in front.
    Search spaces of Tune (``tune.choice([5, 10])``) may stand in the place of values.

    Args:
        config: A config of PPO or its kin, on RLlib's new API stack. It is changed in place.
        module_class: `ELMURTorchRLModule` or a class derived from it.
        **options: Options of `ELMURConfig`, of `PolicyOptions` (`previous_action`,
            `previous_reward`, `action_mask`, `max_seq_len`), and of `LearnerOptions`, which go to
            the config's `learner_config_dict`.

    Returns:
        The config, for chaining.

    Raises:
        ValueError: If an option is unknown or out of range, if the algorithm is not supported, or
            if the config is set to the old API stack.
        ImportError: If there is no Ray, or one that is too old (`plugin.ray_versions`).
    """
    ray_versions.require_ray()
    check_names(options, [*ELMURConfig.names(), *PolicyOptions.names(), *LearnerOptions.names()])
    given: dict[str, Any] = dict(options)
    model = {name: given.pop(name) for name in ELMURConfig.names() if name in given}
    for name in PolicyOptions.names():
        model[name] = given.pop(name, getattr(PolicyOptions, name))
    _check_values(model)
    _require_supported(config, module_class)
    previous = {part: model[f"previous_{part}"] for part in ("action", "reward")}
    _set_learner(config, given, previous)
    _set_env_runner(config, previous)
    _set_module(config, module_class, model, options)
    return config


def _check_values(options: dict[str, Any]) -> None:
    """Raises an OptionError for a value that is not allowed, where Tune does not choose it."""
    fixed = {name: value for name, value in options.items() if not is_search_space(value)}
    for name in options:
        if name not in fixed and name.startswith("previous_"):
            raise OptionError(
                f"{name}={options[name]!r}: must be a bool, and cannot be searched over, as it "
                "changes the observation space.",
                name,
            )
    for name, value in fixed.items():
        (PolicyOptions if name in PolicyOptions.names() else ELMURConfig).check(name, value)
    if len(fixed) == len(options):  # else it shows which values fit together when Tune has chosen
        segment_length = ELMURConfig.part_of(fixed).segment_length
        warn_of_short_sequences(fixed["max_seq_len"], segment_length)


def _require_supported(config: AlgorithmConfig, module_class: type) -> None:
    """Raises if RLlib's stack or the algorithm's learner is not one that the module is made for."""
    if not (config.enable_rl_module_and_learner and config.enable_env_runner_and_connector_v2):
        raise ValueError(
            "enable_rl_module_and_learner and enable_env_runner_and_connector_v2 must be True: "
            "ELMUR needs RLlib's new API stack (`config.api_stack(...)`, its default)."
        )
    if config.algo_class is None:
        raise ValueError(
            f"{type(config).__name__} is the config of no algorithm: use that of one with a value "
            "function on sequences, such as PPOConfig."
        )
    learner = cast("type[Learner]", config.get_default_learner_class())
    missing = [
        api.__name__
        for api in learner.rl_module_required_apis()
        if not issubclass(module_class, api)
    ]
    if missing:
        name = getattr(config.algo_class, "__name__", type(config).__name__)
        raise ValueError(
            f"{name} is not supported by ELMUR: its learner needs {', '.join(missing)}. "
            "Use an algorithm with a value function on sequences, such as PPO."
        )


def _set_learner(
    config: AlgorithmConfig, options: dict[str, Any], previous: dict[str, bool]
) -> None:
    learner_class = stable_learner(config.learner_class)
    check_learner(learner_class, {**config.learner_config_dict, **options})
    _, users = connector_builders(config)
    is_offline = isinstance(config, MARWILConfig)  # or BC's
    space = partial(RecordedSpace, **previous)
    config.learners(
        learner_class=learner_class,
        learner_connector=with_snapshots(users, space if is_offline else None),
    )
    config.learner_config_dict.update(options)
    if is_offline:
        config.offline_data(offline_data_class=_offline_data(config, learner_class))


def _offline_data(config: AlgorithmConfig, learner_class: type) -> Any:
    """The class that reads recordings for BC and MARWIL; the config's own if it has one."""
    reader = config.offline_data_class or RecordedEpisodes
    for name, found, base in (
        ("offline_data_class", reader, RecordedEpisodes),
        ("learner_class", learner_class, FromEpisodes),
    ):
        if not issubclass(found, base):
            raise ValueError(
                f"{name}={found.__name__} is not one for whole episodes, of which a policy with "
                f"memory learns: leave it out, or derive it from `{base.__module__}."
                f"{base.__name__}`."
            )
    return reader


def _set_env_runner(config: AlgorithmConfig, previous: dict[str, bool]) -> None:
    config.env = importable_id(config.env)
    env_to_module, _ = connector_builders(config)
    config.env_runners(env_to_module_connector=with_previous(env_to_module, **previous))
    if isinstance(config, IMPALAConfig):  # or APPO's
        # While no remote env runner lives, RLlib samples here, and fails without an environment.
        config.env_runners(create_env_on_local_worker=True)
    if config.env_runner_cls is None:
        several = config.is_multi_agent
        config.env_runners(env_runner_cls=ELMURMultiAgentEnvRunner if several else ELMUREnvRunner)
    # A choice made with the enum, or after this call, stands.
    if config.gym_env_vectorize_mode == "sync":
        use_vector_form(config)


def use_vector_form(config: AlgorithmConfig) -> None:
    """Gives this package's environments their own vector form, for which RLlib never asks."""
    if config.env in ENVIRONMENTS:
        config.env_runners(gym_env_vectorize_mode="vector_entry_point")


def _set_module(
    config: AlgorithmConfig,
    module_class: type[ELMURTorchRLModule],
    options: dict[str, Any],
    asked_for: Collection[str],
) -> None:
    # RLlib lays the spec's options over the config's. Tune searches in the config only, and RLlib's
    # offline data pipeline reads `max_seq_len` there.
    searched = {name: value for name, value in options.items() if is_search_space(value)}
    fixed = {name: value for name, value in options.items() if name not in searched}
    env = getattr(config.env, "__name__", config.env)
    fixed[ENVIRONMENT] = "the environment" if env is None else f"the environment {env}"
    spec: Any = config.rl_module_spec
    if not _with_options(spec, fixed, {*asked_for, ENVIRONMENT}):
        spec = RLModuleSpec(module_class=module_class, model_config=fixed)
    config.rl_module(
        rl_module_spec=spec, model_config={"max_seq_len": options["max_seq_len"]} | searched
    )


def _with_options(spec: Any, options: dict[str, Any], asked_for: Collection[str]) -> bool:
    """Gives options to the ELMUR modules of a spec of several modules; False if it has none.

    What is asked for overrules the spec; of the others, the spec's own values stay.
    """
    specs = spec.rl_module_specs.values() if isinstance(spec, MultiRLModuleSpec) else ()
    elmurs = [part for part in specs if is_elmur(part.module_class)]
    given = {name: value for name, value in options.items() if name in asked_for}
    for part in elmurs:
        part.model_config = options | as_mapping(part.model_config) | given
    return bool(elmurs)
