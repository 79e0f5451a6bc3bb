"""What the tests of the pages read of them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A block of code of a page."""

    language: str
    text: str


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language=None):
    """The page's blocks, in order; those of one language if that is given."""
    found = [Block(*match.groups()) for match in _FENCE.finditer(text_of(page))]
    return [block for block in found if language in (None, block.language)]


def prose(page):
    """The page without its blocks."""
    return _FENCE.sub("", text_of(page))


def inline_code(page):
    """What stands between single backticks in the page's prose, on one line each."""
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page))]


def commands(page):
    """The commands of a page's shell blocks, in order, one by one."""
    lines = [line for block in blocks(page, "bash") for line in block.text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split(" && ")]
    return [part for part in parts if part and not part.startswith("#")]
