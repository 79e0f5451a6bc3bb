"""The pages are true to the code: commands, names, links, tables, the README's length."""

import importlib
import json
import re
import subprocess
import sys

import pytest
from docs_commands import PROGRAMS, check
from docs_pages import PAGES, ROOT, blocks, commands, inline_code, prose, text_of

from rllib_elmur.cli import examples

RESULTS = sorted((ROOT / "docs" / "results").glob("*.json"))
FOLDERS = "rllib_elmur/", "tests/", "docs/", "tuned_examples/", "examples/", ".github/", ".ci/"
KEYS = ["name", "command", "commit", "date", "machine", "versions", "rows"]


def test_the_readme_has_at_most_170_lines():
    assert len(text_of("README.md").splitlines()) <= 170


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_is_tested(page):
    known = {"bash", "python", "yaml", "diff", "json", "text"}
    assert {block.language for block in blocks(page)} <= known
    for block in blocks(page, "json"):
        json.loads(block.text)
    assert not blocks(page, "diff") or page == "README.md"


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_that_a_page_names_take_its_commands(page):
    for command in commands(page):
        check(command)


@pytest.mark.parametrize("page", PAGES)
def test_so_they_do_the_commands_in_sentences(page):
    for code in inline_code(page):
        words = code.replace(" ...", "").split()
        if words[0] not in PROGRAMS or words[0] == "." or len(words) == 1:
            continue
        if all(re.fullmatch(r"[a-z]+", word) for word in words[1:]):
            # A verb alone, by its name.
            check(f"{code} --help") if words[0] != "rllib" else require_verb(words[1:])
        else:
            check(code.replace("...", ""))


def require_verb(words):
    from typer.main import get_command

    from rllib_elmur.cli.verbs import app

    command = get_command(app)
    for word in words:
        command = command.commands[word] if hasattr(command, "commands") else command


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def anchors(text):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain]


@pytest.mark.parametrize("page", PAGES)
def test_files_folders_and_tests_that_are_named_exist(page):
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    words = [word for code in inline_code(page) for word in code.split()]
    for word in words:
        if word.startswith(FOLDERS) and not re.search(r"[*<>A-Z]{2}|[*<]", word):
            assert (ROOT / word.split("::")[0].rstrip("/:,.")).exists(), word
        for name in re.findall(r"\btest_\w+\b(?!\.py)", word):
            assert f"def {name}(" in tests or list((ROOT / "tests").rglob(f"{name}.py")), word


@pytest.mark.parametrize("page", PAGES)
def test_a_name_stands_in_the_file_beside_it(page):
    text = " ".join(prose(page).split())
    beside = r"`([A-Za-z_][\w.]*)`(?: in|,? \()\s*\[?`(rllib_elmur/[\w/]+\.py)`"
    for name, path in re.findall(beside, text):
        assert re.search(rf"\b{name.split('.')[-1]}\b", text_of(path)), f"{name} in {path}"


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_package_that_are_named_exist(page):
    text = prose(page) + "".join(block.text for block in blocks(page))
    for name in set(re.findall(r"\brllib_elmur(?:\.[A-Za-z_]\w*)+", text)):
        if name.split(".")[-1] not in ("git", "py"):
            assert resolved(name), name


def resolved(name):
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:i]))
            except ImportError:
                return False
        found = getattr(found, part)
    return True


def test_what_is_made_of_code_and_results_is_up_to_date():
    program = [sys.executable, ROOT / "docs" / "make.py", "--check"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, f"run `python docs/make.py`\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_a_result_says_how_to_repeat_it_and_stands_on_a_page(file):
    record = json.loads(file.read_text())
    assert [key for key in record if key in KEYS] == KEYS and record["rows"]
    assert record["name"] == file.stem
    assert re.fullmatch(r"[0-9a-f]{7,40}", record["commit"])
    check(record["command"])
    assert any(f"{file.stem}.json)" in text_of(page) for page in PAGES)


def test_the_readme_states_the_ranges_of_the_package():
    package = (ROOT / "pyproject.toml").read_text()
    python = re.search(r'^requires-python = "(.*)"$', package, re.M).group(1)
    ray = re.search(r'^ +"(ray\[.*)",$', package, re.M).group(1)
    assert f"`{python}`" in text_of("README.md")
    assert f"`{ray}`" in text_of("README.md")
    oldest, beyond = re.fullmatch(r">=(3\.\d+),<3\.(\d+)", python).groups()
    assert f"Python {oldest} to 3.{int(beyond) - 1}" in text_of("README.md")


def test_all_examples_are_described():
    named = re.findall(r"`([a-z-]+)`", text_of("docs/cli.md").split("## Examples")[1])
    assert set(examples.descriptions()) <= set(named)


def test_the_glossary_is_in_alphabetical_order():
    words = re.findall(r"^\| ([^|]+?) \|", text_of("docs/glossary.md"), re.M)[2:]
    assert words == sorted(words, key=str.lower)


def test_each_situation_is_held_by_a_test_of_its_own():
    rows = re.findall(r"^\| .* \| `(.*::.*)` \|$", text_of("docs/situations.md"), re.M)
    assert len(rows) == len(set(rows)) >= 40
    for row in rows:
        path, name = row.split("::")
        assert f"\ndef {name}(" in text_of(path), row
