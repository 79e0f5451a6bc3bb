"""Logs a warning under this package's name, once in a process."""

import logging

_logger = logging.getLogger("rllib_elmur")
_said: set[str] = set()


def say_once(sentence: str) -> None:
    """Logs a sentence, unless this process has logged it already."""
    if sentence not in _said:
        _said.add(sentence)
        _logger.warning(sentence)
