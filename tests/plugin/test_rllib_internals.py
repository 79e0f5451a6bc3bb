"""Private names and files of Ray stand in one file each, with the versions they were read in."""

import ast
import importlib.util
from pathlib import Path

import pytest
from packaging.version import Version

import rllib_elmur
from rllib_elmur.plugin import ray_files, ray_versions, rllib_internals
from rllib_elmur.plugin.rllib_internals import PRIVATE_NAMES

PACKAGE = Path(rllib_elmur.__file__).parent
ROOM = Path(rllib_internals.__file__)
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != ROOM]
TABLE = {name for names in PRIVATE_NAMES.values() for name in names.split()}
# Words that stand for other things too: they are Ray's only as attributes, and not behind `self`,
# where they are of a class of Ray's for deriving from, nor behind `ray`.
WORDS = {"data", "num_env_steps_sampled_lifetime"}
# The names of Ray's files and of what stands in them, and those that are words of files of our own.
LAYOUT = {name for names in ray_files.NAMES.values() for name in names.split()}
EVERYDAY = {"learner", "env_runner", "rl_module", "learner_group", "class"}
EVERYDAY |= {"env_to_module_connector", "module_to_env_connector"}  # keys of a config
ALL_NAMES = PRIVATE_NAMES | ray_files.NAMES
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def defined_names(tree):
    """Functions, classes, variables and attributes that a source sets or defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


def private_names_of_ray(source, inherited=frozenset()):
    """What a source uses of Ray's private names, as far as its syntax tells.

    Args:
        source: The source.
        inherited: Names that this package defines, for what stands behind `self`.
    """
    tree = ast.parse(source)
    own = set(defined_names(tree)) - TABLE
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            parts = node.module.split(".") + [alias.name for alias in node.names]
            yield from filter(is_private, parts)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "ray":
                    yield from filter(is_private, alias.name.split("."))
        elif isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            ours = own | NAMED_TUPLE | (inherited if of_self else set())
            of_ray = isinstance(node.value, ast.Name) and node.value.id == "ray"
            in_table = node.attr in TABLE - (WORDS if of_self or of_ray else set())
            if in_table or (is_private(node.attr) and node.attr not in ours):
                yield node.attr
        elif isinstance(node, ast.FunctionDef) and node.name in TABLE:
            yield node.name
        elif isinstance(node, ast.Constant) and str(node.value) in TABLE - WORDS:
            yield node.value


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from ray.tune.registry import _global_registry", ["_global_registry"]),
        ("from ray._private.worker import init", ["_private"]),
        ("import ray._private.worker", ["_private"]),
        ("ray._private.worker.x()", ["_private"]),
        ("runner._anything_new", ["_anything_new"]),
        ("config._learner_connector = None", ["_learner_connector"]),
        ("class A(Runner):\n def _sample(self): pass", ["_sample"]),
        ("getattr(runner, '_env_to_module')", ["_env_to_module"]),
        ("shared['memorized_map_structure']", ["memorized_map_structure"]),
        ("shared[f'_zero_padded_for_mid={key}']", ["_zero_padded_for_mid="]),
        ("buffer.finalized", ["finalized"]),
        ("buffer.data", ["data"]),
        ("ray.data.range(3)", []),
        ("self.data", []),
        ("result['num_env_steps_sampled_lifetime']", []),
        ("class A:\n def __init__(self): self._own = 1\n def f(self): return self._own", []),
        ("state._replace(a=1).__class__", []),
        ("class A(RLModule):\n def _forward_train(self, batch): pass", []),
    ],
)
def test_the_reader_of_sources_finds_every_form(source, found):
    assert list(private_names_of_ray(source)) == found


def test_no_other_file_of_the_package_uses_a_private_name_of_ray():
    sources = {str(file.relative_to(PACKAGE)): file.read_text() for file in FILES}
    ours = {name for source in sources.values() for name in defined_names(ast.parse(source))}
    found = {name: set(private_names_of_ray(source, ours)) for name, source in sources.items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_the_file_uses_no_private_name_that_its_table_lacks():
    tree = ast.parse(ROOM.read_text())
    own = set(defined_names(tree)) - TABLE
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name in used | imported if is_private(name)} - own <= TABLE | {"_private"}


def names_of_files(source):
    """The names of Ray's layout that a source uses in paths, as keys or as attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in LAYOUT - EVERYDAY:
            yield node.attr
        elif isinstance(node, ast.Constant) and " " not in str(node.value):  # no sentence
            parts = str(node.value).replace("-*.json", "-{}.json").split("/")
            found = LAYOUT - EVERYDAY
            yield from (name for name in found if {name, f"{name}*"} & set(parts))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path / 'metadata.json'", ["metadata.json"]),
        ("folder.glob(f'{pattern}/tuner.pkl')", ["tuner.pkl"]),
        ("folder.glob('**/checkpoint_*')", ["checkpoint_"]),
        ("folder.glob('experiment_state-*.json')", ["experiment_state-{}.json"]),
        ("trial.stopping_criterion = {}", ["stopping_criterion"]),
        ("algorithm.learner_group", []),
        ("'no metadata.json is there'", []),
    ],
)
def test_the_reader_of_files_names_finds_every_form(source, found):
    assert list(names_of_files(source)) == found


def test_no_other_file_of_the_package_names_a_file_of_ray():
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if file != Path(ray_files.__file__)]
    found = {
        str(file.relative_to(PACKAGE)): set(names_of_files(file.read_text())) for file in files
    }
    assert {name: names for name, names in found.items() if names} == {}


def used_in_the_room(room=ROOM):
    tree = ast.parse(room.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.FunctionDef, ast.alias)):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_table_lists_no_name_that_the_file_does_not_use():
    assert set(used_in_the_room()) >= TABLE
    assert set(used_in_the_room(Path(ray_files.__file__))) >= LAYOUT


@pytest.mark.parametrize("entry", ALL_NAMES, ids=lambda entry: f"{entry[0]} {entry[1]}")
def test_each_name_is_defined_where_the_table_says_in_the_installed_ray(entry):
    module, _, _ = entry
    tree = ast.parse(Path(importlib.util.find_spec(f"ray.{module}").origin).read_text())
    defined = set(defined_names(tree))
    defined |= {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(ALL_NAMES[entry].split()) <= defined


@pytest.mark.parametrize("entry", ALL_NAMES, ids=lambda entry: f"{entry[0]} {entry[1]}")
def test_each_name_was_read_in_all_versions_that_are_declared(entry):
    _, oldest, newest = entry
    assert Version(oldest) <= Version(ray_versions.OLDEST)
    assert Version(newest) >= Version(ray_versions.NEWEST)
