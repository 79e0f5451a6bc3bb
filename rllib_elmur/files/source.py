"""YAML whose numbers are numbers, with the line of every key and every problem."""

import re
from pathlib import Path
from typing import Any

import yaml

from rllib_elmur.errors import UserError

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where `1e-4` is a string; here it is the number of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:(?:\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+|\d[\d_]*\.[\d_]*|\.\d+"
        r"|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


class Source:
    """A file, the line of each of its keys, and the problems that are found in it.

    Attributes:
        path: The file.
        content: What it says; None if it is not YAML.
    """

    def __init__(self, path: Path, text: str = ""):
        self.path = path
        self._lines: dict[KeyPath, int] = {}
        self._problems: list[tuple[int, KeyPath, str]] = []
        try:
            root = yaml.compose(text, Loader=_Loader)
            if root is not None:
                self._collect(root, ())
            self.content: Any = yaml.load(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise UserError(f"{path}{line}: not valid YAML: {error.problem}.") from error
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML: {error}.") from error

    def _collect(self, node: yaml.Node, path: KeyPath) -> None:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                key = (*path, key_node.value)
                line = key_node.start_mark.line + 1
                if key in self._lines:
                    message = (
                        f"{key_node.value!r} stands here and in line {self._lines[key]}; PyYAML "
                        "would silently drop the first."
                    )
                    self._problems.append((line, key, message))
                self._lines[key] = line
                self._collect(value_node, key)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._collect(item, (*path, index))

    def note(self, path: KeyPath, message: str) -> None:
        """Notes a problem with the value at a path.

        It stands at the line of its key, or of the closest enclosing key that has a line.
        """
        lengths = range(len(path), 0, -1)
        line = next((self._lines[path[:n]] for n in lengths if path[:n] in self._lines), 0)
        if (line, path, message) not in self._problems:
            self._problems.append((line, path, message))

    def require_no_problem(self) -> None:
        """Ends the reading of a file in which problems were found.

        Raises:
            UserError: Its text has a line for each problem, in the order of the file's lines.
        """
        if self._problems:
            found = sorted(self._problems, key=lambda problem: problem[0])
            lines = [f"{self.path}{f':{n}' if n else ''}: {message}" for n, _, message in found]
            raise UserError("\n".join(dict.fromkeys(lines)))


def read_yaml(path: Path) -> Source:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        UserError: If the file is missing, is not YAML, or is something other than a mapping.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    source = Source(path, path.read_text(encoding="utf-8"))
    if not isinstance(source.content, dict) or not source.content:
        kind = type(source.content).__name__ if source.content is not None else "empty file"
        raise UserError(
            f"{path}: must be a mapping from experiment names to experiments, not a {kind}."
        )
    return source


def read_values(text: str) -> list[Any]:
    """Reads values that are separated by commas, each as in a file.

    Raises:
        ValueError: If the text is not YAML.
    """
    try:
        return yaml.load(f"[{text}]", Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"not valid YAML: {error.problem}.") from error
