"""One readable message for what a user can mend, and the search for the nearest valid name."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; its text is the whole message, without a stack trace."""


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """A sentence naming the valid name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, [str(v) for v in valid], n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""


def root_cause(error: BaseException) -> BaseException:
    """The exception that started a chain of wrapped ones (Ray wraps what a worker raises)."""
    seen = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def last_words(text: str) -> str:
    """The innermost ``SomeError: message`` of a (possibly nested) formatted traceback."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    for index, line in enumerate(lines):
        head = line.split(":", 1)[0].strip()
        is_error = head.replace(".", "").replace("_", "").isalnum() and head.endswith(
            ("Error", "Exception", "Exit", "Interrupt")
        )
        if is_error and not line.startswith(" ") and "RayTaskError" not in head:
            return "\n".join(lines[index:]).split("\n\n", 1)[0]
    return lines[-1] if lines else "no message"
