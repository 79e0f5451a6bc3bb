"""Makes those parts of the pages that follow from the code or from measurements.

    python docs/make.py            writes them into the pages
    python docs/make.py --check    exit code 1 if a page does not hold what would be made

In a page such a part stands between two comments: `<!-- made: NAME -->` and `<!-- end -->`.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import make_costs  # noqa: F401 (its tables are parts of the pages)
import make_in_short  # noqa: F401 (so is what it makes)
import make_options
import make_proofs  # noqa: F401 (as make_costs)
import make_suite  # noqa: F401 (as make_costs)
import make_tables

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARTS: dict[str, Callable[[Path], str]] = make_tables.PARTS | make_options.PARTS
_PART = re.compile(r"(<!-- made: (\S+) -->\n).*?(<!-- end -->)", re.S)


def made(page: Path) -> str:
    """A page's text with its parts made anew."""

    def part(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name not in PARTS:
            raise SystemExit(f"{page}: no part {name!r}. Parts: {', '.join(sorted(PARTS))}.")
        return f"{begin}\n{PARTS[name](page.parent).strip()}\n\n{end}"

    return _PART.sub(part, page.read_text(encoding="utf-8"))


def main() -> int:
    """Writes or compares the pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    differ = [page for page in PAGES if made(page) != page.read_text(encoding="utf-8")]
    for page in differ:
        if not check:
            page.write_text(made(page), encoding="utf-8")
        print(f"{'differs' if check else 'written'}: {page.relative_to(ROOT)}")
    return 1 if check and differ else 0


if __name__ == "__main__":
    sys.exit(main())
