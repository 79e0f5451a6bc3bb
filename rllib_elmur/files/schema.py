"""The experiments of a file: what they are made of, checked before anything starts."""

import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rllib_elmur.errors import UserError, nearest
from rllib_elmur.files import former_keys as former
from rllib_elmur.files.source import Source, read_yaml

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig


class CheckpointOptions(BaseModel):
    """`checkpoint_config`: Tune's own names."""

    model_config = ConfigDict(extra="forbid")

    checkpoint_frequency: int = Field(default=10, ge=0)
    checkpoint_at_end: bool = True
    num_to_keep: int | None = Field(default=None, ge=1)
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str = Field(default="max", pattern="^(max|min)$")

    def model_post_init(self, context: Any) -> None:
        """Keeps three checkpoints where the file asks for neither a rhythm nor a number."""
        if not {"num_to_keep", "checkpoint_frequency"} & self.model_fields_set:
            self.num_to_keep = 3


class _Entry(BaseModel):
    """One experiment of a YAML file, as it is written."""

    model_config = ConfigDict(extra="forbid")

    run: str
    env: str | None = None
    stop: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    num_samples: int = Field(default=1, ge=1)
    checkpoint_config: CheckpointOptions = Field(default_factory=CheckpointOptions)


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


def load(file: Path, num_samples: int | None = None) -> list[Experiment]:
    """Reads experiments from a YAML file, or one from a Python file.

    Args:
        file: A YAML file, or a Python file that defines `config` and, if wanted, `stop`.
        num_samples: Overrides the file's number of samples.

    Raises:
        UserError: If anything in the file cannot be used; no Ray worker has been started.
    """
    # Import paths in the file may name modules that lie beside it.
    sys.path.insert(0, str(file.parent.resolve()))
    if file.suffix == ".py":
        return [_from_python(file, num_samples or 1)]
    source = read_yaml(file)
    return [_from_yaml(source, str(name), num_samples) for name in source.content]


def check_stop(stop: Any, where: str) -> dict[str, float]:
    """The stop criteria, flattened to ``a/b`` names.

    Raises:
        UserError: If they are not a mapping of names to numbers, or use a former name.
    """
    flat: dict[str, float] = {}

    def collect(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, f"{name}/{key}" if name else str(key))
        elif name in former.STOP_KEYS:
            raise UserError(f"{where}: stop: {name!r} is now {former.STOP_KEYS[name]!r}.")
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{where}: stop: {name}={value!r} must be a number.")
        else:
            flat[name] = value

    if not isinstance(stop, dict):
        raise UserError(f"{where}: stop={stop!r} must be a mapping of result names to numbers.")
    collect(stop, "")
    return flat


def _from_yaml(source: Source, name: str, num_samples: int | None) -> Experiment:
    from rllib_elmur.files import build, search

    entry = _entry(source, name)
    path = (name, "config")
    stop = check_stop(entry.stop, source.where((name, "stop")))
    default = build.default_config(source, name, entry.run)
    trials = []
    for label, config in search.variants(
        source, entry.config, path, num_samples or entry.num_samples
    ):
        trials.append(Trial(label, build.config_of(source, name, default, entry.env, config)))
    return Experiment(name, trials, stop, entry.checkpoint_config)


def _entry(source: Source, name: str) -> _Entry:
    content = source.content[name]
    if not isinstance(content, dict):
        raise source.problem(
            (name,),
            f"the experiment {name!r} must be a mapping with the keys "
            f"{', '.join(_Entry.model_fields)}.",
        )
    for key in content:
        if key in former.EXPERIMENT_KEYS:
            raise source.problem((name, key), f"{key!r}: use {former.EXPERIMENT_KEYS[key]}.")
    try:
        return _Entry.model_validate(content)
    except ValidationError as error:
        # A key that is missing may just be one that is misspelt.
        first = min(error.errors(), key=lambda e: e["type"] == "missing")
        keys = first["loc"]
        key = str(keys[-1])
        known = CheckpointOptions if len(keys) > 1 else _Entry
        if first["type"] == "extra_forbidden":
            message = (
                f"unknown key {key!r}.{nearest(key, known.model_fields)} "
                f"Keys here: {', '.join(known.model_fields)}."
            )
        elif first["type"] == "missing":
            message = f"the experiment {name!r} lacks the key {key!r}."
        else:
            message = f"{'.'.join(map(str, keys))}={first['input']!r}: {first['msg']}."
        raise source.problem((name, *keys), message) from error


def _from_python(file: Path, num_samples: int) -> Experiment:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from rllib_elmur.files import build

    if not file.is_file():
        raise UserError(f"{file}: no such file.")
    try:
        names = runpy.run_path(str(file))
    except Exception as error:
        line = next(
            (
                f":{frame.tb_lineno}"
                for frame in _frames(error.__traceback__)
                if frame.tb_frame.f_code.co_filename == str(file)
            ),
            "",
        )
        raise UserError(f"{file}{line}: {type(error).__name__}: {error}") from error
    config = names.get("config")
    if not isinstance(config, AlgorithmConfig):
        raise UserError(
            f"{file}: must define `config`, an AlgorithmConfig such as PPOConfig(); "
            f"found {type(config).__name__ if 'config' in names else 'none'}."
        )
    stop = check_stop(names.get("stop", {}), str(file))
    trials = [Trial("", build.checked(config.copy(), str(file))) for _ in range(num_samples)]
    return Experiment(file.stem, trials, stop)


def _frames(traceback: Any) -> list[Any]:
    frames = []
    while traceback is not None:
        frames.insert(0, traceback)
        traceback = traceback.tb_next
    return frames
