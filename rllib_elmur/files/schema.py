"""The experiments of a file: what they are made of, checked before anything starts."""

import difflib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rllib_elmur.errors import UserError, nearest
from rllib_elmur.files import former_keys, python_file
from rllib_elmur.files.class_paths import imported
from rllib_elmur.files.source import KeyPath, Source, read_yaml
from rllib_elmur.files.validator import Validator

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig


class CheckpointOptions(BaseModel):
    """`checkpoint_config`: Tune's own names."""

    model_config = ConfigDict(extra="forbid")

    checkpoint_frequency: int = Field(
        default=10, ge=0, description="Iterations between checkpoints; 0: none."
    )
    checkpoint_at_end: bool = Field(default=True, description="Save a last checkpoint.")
    num_to_keep: int | None = Field(
        default=None,
        ge=1,
        description="Checkpoints to keep of each trial; 3 where neither this nor a frequency is "
        "given, else all.",
    )
    checkpoint_score_attribute: str | None = Field(
        default=None, description="Result by which the best are kept in place of the newest."
    )
    checkpoint_score_order: str = Field(
        default="max", pattern="^(max|min)$", description="Whether the best is the max or the min."
    )

    def model_post_init(self, context: Any) -> None:
        """Keeps three checkpoints where the file asks for neither a rhythm nor a number."""
        if not {"num_to_keep", "checkpoint_frequency"} & self.model_fields_set:
            self.num_to_keep = 3


class ExperimentOptions(BaseModel):
    """One experiment of a YAML file, as it is written."""

    model_config = ConfigDict(extra="forbid")

    run: str = Field(description="An algorithm of RLlib, such as PPO.")
    env: str | None = Field(
        default=None, description="A registered id or a class path; may stand in `config`."
    )
    stop: dict[str, Any] = Field(
        default_factory=dict,
        description="Results and numbers, nested or as a/b; the first one reached ends a trial.",
    )
    task: str | None = Field(
        default=None, description="Function that describes the environment, for `certified`."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="Attributes of the algorithm's config; may hold searches."
    )
    num_samples: int = Field(default=1, ge=1, description="Trials of each configuration.")
    checkpoint_config: CheckpointOptions = Field(
        default_factory=CheckpointOptions, description="When to save, and what to keep; see below."
    )


@dataclass
class Trial:
    """One training run: a complete config, and what sets it apart from its siblings."""

    label: str
    config: "AlgorithmConfig"


@dataclass
class Experiment:
    """Training runs that belong together."""

    name: str
    trials: list[Trial]
    stop: dict[str, float]
    checkpoints: CheckpointOptions = field(default_factory=CheckpointOptions)
    task: Callable[[Any], Any] | None = None


def load(file: Path | dict[str, Any], num_samples: int | None = None) -> list[Experiment]:
    """Reads experiments from a YAML file, or one from a Python file.

    Args:
        file: A YAML file, or a Python file that defines `config`, perhaps `stop` and `task`; or
            one experiment as in a file, with the keys `run`, `env` and `config`.
        num_samples: Overrides the file's number of samples.

    Raises:
        UserError: If anything in the file cannot be used: all that was found, in the order of the
            file's lines. No Ray worker has been started.
    """
    if isinstance(file, dict):
        return _checked(Source(Path("rllib train")), {file["run"]: file}, num_samples)
    # Import paths in the file may name modules that lie beside it.
    sys.path.insert(0, str(file.parent.resolve()))
    if file.suffix == ".py":
        return [_from_python(file, num_samples or 1)]
    source = read_yaml(file)
    return _checked(source, source.content, num_samples)


def _checked(source: Source, content: Any, num_samples: int | None) -> list[Experiment]:
    """The experiments of a source, in which no problem is found."""
    experiments = [
        _from_yaml(Validator(source, (str(name),)), part, num_samples)
        for name, part in content.items()
    ]
    source.require_no_problem()
    return [experiment for experiment in experiments if experiment is not None]


def read_stop(stop: Any) -> tuple[dict[str, float], list[tuple[KeyPath, str]]]:
    """Reads stop criteria.

    Returns:
        The criteria that can be used, flattened to ``a/b`` names; and what is wrong with others,
        by their paths.
    """
    flat: dict[str, float] = {}
    problems: list[tuple[KeyPath, str]] = []

    def collect(value: Any, path: KeyPath) -> None:
        name = "/".join(map(str, path))
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, (*path, key))
        elif name in former_keys.STOP_KEYS:
            problems.append((path, f"stop: {name!r} is now {former_keys.STOP_KEYS[name]!r}."))
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            problems.append((path, f"stop: {name}={value!r} must be a number."))
        else:
            flat[name] = value

    if not isinstance(stop, dict):
        problems.append(((), f"stop={stop!r} must be a mapping of result names to numbers."))
    else:
        collect(stop, ())
    return flat, problems


def _from_yaml(here: Validator, content: Any, num_samples: int | None) -> Experiment | None:
    """One experiment; None if a problem was found in it."""
    from rllib_elmur.files import build, keys, search

    if not isinstance(content, dict):
        here.problem(
            f"the experiment {here.name!r} must be a mapping with the keys "
            f"{', '.join(ExperimentOptions.model_fields)}."
        )
        return None
    entry = _entry(here, content)
    # What is wrong with one key keeps no other from being checked.
    stop, config = (
        value if isinstance(value := content.get(key), dict) else {} for key in ("stop", "config")
    )
    criteria, problems = read_stop(stop)
    for path, message in problems:
        here.at("stop", *path).problem(message)
    run = content.get("run")
    default = build.default_config(here.at("run"), run) if isinstance(run, str) else None
    if default is None:
        keys.refuse_former(here.at("config"), config)
        return None
    samples = num_samples or (1 if entry is None else entry.num_samples)
    trials = []
    for label, variant in search.variants(here.at("config"), config, samples):
        made = build.config_of(here.anew(), default, content.get("env"), variant)
        trials += [Trial(label, made)] if made is not None else []
    if entry is None:
        return None
    task = imported(here.at("task"), entry.task)
    return Experiment(here.name, trials, criteria, entry.checkpoint_config, task)


def _entry(here: Validator, content: dict[str, Any]) -> ExperimentOptions | None:
    """The experiment's own keys; None if there is a problem with one of them."""
    former = [key for key in content if key in former_keys.EXPERIMENT_KEYS]
    for key in former:
        here.at(key).problem(f"{key!r}: use {former_keys.EXPERIMENT_KEYS[key]}.")
    try:
        return ExperimentOptions.model_validate(
            {k: v for k, v in content.items() if k not in former}
        )
    except ValidationError as error:
        misspelt = set(_misspelt(content))
        for found in error.errors():
            keys = found["loc"]
            known = CheckpointOptions if len(keys) > 1 else ExperimentOptions
            if found["type"] == "missing" and keys[-1] in misspelt:
                continue
            here.at(*keys).problem(_sentence(found, here.name, list(known.model_fields)))
        return None


def _misspelt(content: dict[str, Any]) -> Iterator[str]:
    """The keys of an experiment that unknown keys seem to stand for."""
    for key in content:
        if key not in ExperimentOptions.model_fields:
            yield from difflib.get_close_matches(
                str(key), ExperimentOptions.model_fields, n=1, cutoff=0.5
            )


def _sentence(found: Any, experiment: str, known: list[str]) -> str:
    """What Pydantic has found wrong with a key."""
    key = str(found["loc"][-1])
    if found["type"] == "extra_forbidden":
        return f"unknown key {key!r}.{nearest(key, known)} Keys here: {', '.join(known)}."
    if found["type"] == "missing":
        return f"the experiment {experiment!r} lacks the key {key!r}."
    return f"{'.'.join(map(str, found['loc']))}={found['input']!r}: {found['msg']}."


def _from_python(file: Path, num_samples: int) -> Experiment:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from rllib_elmur.files import build

    names = python_file.run(file)
    config = names.get("config")
    if not isinstance(config, AlgorithmConfig):
        raise UserError(
            f"{file}: must define `config`, an AlgorithmConfig such as PPOConfig(); "
            f"found {type(config).__name__ if 'config' in names else 'none'}."
        )
    source = Source(file)
    stop, problems = read_stop(names.get("stop", {}))
    for _, message in problems:
        source.note((), message)
    made = build.checked(Validator(source), config.copy())
    source.require_no_problem()
    trials = [Trial("", made.copy()) for _ in range(num_samples)]
    return Experiment(file.stem, trials, stop, task=names.get("task"))
