"""Hyper-parameter search written in YAML: `{grid_search: [...]}` and Tune's distributions."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from rllib_elmur.files.validator import Validator

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
    here: Validator, config: dict[str, Any], num_samples: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The configs that a config with search values stands for.

    The draws are the same each time the file is read, so that an interrupted experiment can be
    resumed and a search be repeated.

    Args:
        here: Where the config stands.
        config: The config. Search values that are wrong are left out.
        num_samples: How often distributions are drawn from.

    Yields:
        A label such as ``"seed=1, lr=0.0003"`` (empty without a search) and the config.
    """
    from ray.tune.search.variant_generator import generate_variants

    spec = {"config": _with_domains(here, copy.deepcopy(config))}
    draws = np.random.RandomState(0)
    for _ in range(num_samples):
        for chosen, resolved in generate_variants(spec, random_state=draws):
            label = ", ".join(
                f"{where[-1]}={_short(value)}"
                for where, value in chosen.items()
                if not isinstance(value, dict)
            )
            yield label, resolved["config"]


_WRONG = object()


def _with_domains(here: Validator, value: Any) -> Any:
    """Puts Tune's objects in place of the file's distributions; grids Tune knows as they are."""
    if is_search(value):
        return _domain(here, *next(iter(value.items())))
    if isinstance(value, dict):
        made = {key: _with_domains(here.at(key), part) for key, part in value.items()}
        return {key: part for key, part in made.items() if part is not _WRONG}
    if isinstance(value, list):
        parts = [_with_domains(here.at(i), part) for i, part in enumerate(value)]
        return [part for part in parts if part is not _WRONG]
    return value


def _domain(here: Validator, word: str, arguments: list[Any]) -> Any:
    from ray import tune

    if not arguments:
        here.problem(f"{word} has nothing to choose from.")
        return _WRONG
    if word == "grid_search":
        return {word: arguments}
    try:
        # `choice` takes the list, the others its items.
        return tune.choice(arguments) if word == "choice" else getattr(tune, word)(*arguments)
    except (TypeError, ValueError, AssertionError) as error:
        here.problem(f"{word}: {arguments} does not fit: {error}")
        return _WRONG


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
