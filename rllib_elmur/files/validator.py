"""Notes what is wrong with a value at the place of the file where the value stands."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from rllib_elmur.errors import UserError, nearest
from rllib_elmur.files.source import KeyPath, Source

_MOST_ATTEMPTS = 50  # of a search for the key behind a failure


class Validator:
    """Notes the problems with one value of a file, at the path of keys that leads to the value.

    A check of a value is handed the value's validator, and hands the parts of the value on with
    validators of their own (`at`). So each problem stands at the right line, whoever finds it.

    Args:
        source: The file.
        path: The keys that lead to the value.
        found: The paths of all problems found so far, which validators of one file share.
    """

    def __init__(self, source: Source, path: KeyPath = (), found: list[KeyPath] | None = None):
        self._source, self._path = source, path
        self._found: list[KeyPath] = [] if found is None else found

    @property
    def name(self) -> str:
        """The value's own key."""
        return str(self._path[-1])

    @property
    def failed(self) -> bool:
        """Whether a problem has been found with the value or a part of it."""
        return any(path[: len(self._path)] == self._path for path in self._found)

    def at(self, *keys: str | int) -> "Validator":
        """The place of a part of the value."""
        return Validator(self._source, (*self._path, *keys), self._found)

    def anew(self) -> "Validator":
        """The same place for another value, with which no problem has been found."""
        return Validator(self._source, self._path)

    def problem(self, message: str) -> None:
        """Notes what is wrong with the value."""
        self._found.append(self._path)
        self._source.note(self._path, message)

    def refused(self, error: Exception) -> None:
        """Notes an exception that says what is wrong with the value."""
        kind = "" if isinstance(error, (UserError, ValueError)) else f"{type(error).__name__}: "
        self.problem(f"{kind}{' '.join(str(error).split())}")

    def is_mapping(self, value: Any) -> bool:
        """Notes a value that should be a mapping and is none."""
        if not isinstance(value, dict):
            self.problem(f"{self.name}={value!r} must be a mapping.")
        return isinstance(value, dict)

    def known(self, content: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """Notes the keys of a mapping that are unknown; returns the others."""
        for key in content:
            if key not in names:
                self.at(key).problem(
                    f"unknown key {key!r} in {self.name}.{nearest(key, names)} "
                    f"Keys: {', '.join(names)}."
                )
        return {key: value for key, value in content.items() if key in names}

    def fits(self, value: Any, default: Any) -> bool:
        """Notes a value of another type than the default has."""
        if value is None or value == "auto":
            return True
        if isinstance(default, bool) and not isinstance(value, bool):
            self.problem(f"{self.name}={value!r} must be true or false.")
            return False
        if isinstance(default, (int, float)) and isinstance(value, (str, dict)):
            self.problem(f"{self.name}={value!r} must be a number.")
            return False
        return True


Attempt = Callable[[Mapping[str, Any]], Exception | None]


def failures(content: Mapping[str, Any], attempt: Attempt) -> Iterator[tuple[Any, Exception]]:
    """Finds the keys behind the failures of something that checks a mapping as a whole.

    RLlib and environments say that a mapping is wrong, and not which of its keys. The key is the
    one without which there is no failure or another one.

    Args:
        content: The mapping.
        attempt: What checks it; returns the exception that it fails with, or None.

    Yields:
        A key, or None if it is none alone or it is none of the first ones; and the exception.
    """
    rest = dict(content)
    while (error := attempt(rest)) is not None:
        key = _key_behind(error, rest, attempt)
        yield key, error
        if key is None:
            return
        del rest[key]


def _key_behind(error: Exception, content: Mapping[str, Any], attempt: Attempt) -> Any:
    changing = None
    for key in islice(content, _MOST_ATTEMPTS):
        other = attempt({name: value for name, value in content.items() if name != key})
        if other is None:
            return key
        if changing is None and str(other) != str(error):
            changing = key
    return changing
