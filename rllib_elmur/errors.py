"""One readable message for what a user can mend, and the search for the nearest valid name."""

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; its text is the whole message, without a stack trace."""


class OptionError(ValueError):
    """A value of an option that is not allowed.

    Attributes:
        options: Names of the options that the message is about, the one to change first.
    """

    def __init__(self, message: str, *options: str):
        super().__init__(message)
        self.options = options


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """Returns a sentence that names the valid name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, [str(v) for v in valid], n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""


def root_cause(error: BaseException) -> BaseException:
    """Returns the exception at the begin of a chain; Ray wraps what a worker raises."""
    seen = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def innermost_error(text: str) -> str:
    """Returns the innermost ``SomeError: message`` of a formatted, possibly nested traceback."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    error = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt): \S")
    for index in reversed(range(len(lines))):
        if error.match(lines[index]):
            # The message ends at the next blank line or traceback.
            return re.split(r"\n\s*\n|\n\S*Traceback", "\n".join(lines[index:]))[0]
    return lines[-1] if lines else "no message"
