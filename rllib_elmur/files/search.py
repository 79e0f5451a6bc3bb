"""Hyper-parameter search written in YAML: `{grid_search: [...]}` and Tune's distributions."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from rllib_elmur.files.source import KeyPath, Source

#: The distributions by their names in `ray.tune`.
DISTRIBUTIONS = (
    "choice",
    "uniform",
    "quniform",
    "loguniform",
    "qloguniform",
    "randn",
    "qrandn",
    "randint",
    "qrandint",
    "lograndint",
    "qlograndint",
)


def is_search(value: Any) -> bool:
    """Whether a value of the file stands for several: a mapping of one known word to a list."""
    if not (isinstance(value, dict) and len(value) == 1):
        return False
    [(word, arguments)] = value.items()
    return word in ("grid_search", *DISTRIBUTIONS) and isinstance(arguments, list)


def variants(
    source: Source, config: dict[str, Any], path: KeyPath, num_samples: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The configs that a config with search values stands for.

    The draws are the same each time the file is read, so that an interrupted experiment can be
    resumed and a search be repeated.

    Yields:
        A label such as ``"seed=1, lr=0.0003"`` (empty without a search) and the config.
    """
    from ray.tune.search.variant_generator import generate_variants

    spec = {"config": _with_domains(source, copy.deepcopy(config), path)}
    draws = np.random.RandomState(0)
    for _ in range(num_samples):
        for chosen, resolved in generate_variants(spec, random_state=draws):
            label = ", ".join(
                f"{where[-1]}={_short(value)}"
                for where, value in chosen.items()
                if not isinstance(value, dict)
            )
            yield label, resolved["config"]


def _with_domains(source: Source, value: Any, path: KeyPath) -> Any:
    """Puts Tune's objects in place of the file's distributions; grids Tune knows as they are."""
    from ray import tune

    if is_search(value):
        [(word, arguments)] = value.items()
        if not arguments:
            raise source.problem(path, f"{word} has nothing to choose from.")
        if word == "grid_search":
            return value
        try:
            # `choice` takes the list, the others its items.
            return tune.choice(arguments) if word == "choice" else getattr(tune, word)(*arguments)
        except (TypeError, ValueError, AssertionError) as error:
            raise source.problem(path, f"{word}: {arguments} does not fit: {error}") from error
    if isinstance(value, dict):
        return {k: _with_domains(source, v, (*path, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_domains(source, v, (*path, i)) for i, v in enumerate(value)]
    return value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
