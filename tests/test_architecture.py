"""Imports run one way, files and functions stay short, and the model needs no Ray."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rllib_elmur

PACKAGE = Path(rllib_elmur.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
CHAIN = ["cli", "report", "runs", ("files", "proof"), "acting", "plugin", "model", "config"]
ALLOWED = {"envs": {"envs"}, "errors": {"errors"}}
below = {"envs", "errors"}
for level in reversed(CHAIN):
    parts = (level,) if isinstance(level, str) else level
    for part in parts:
        ALLOWED[part] = below | {part}
    below = below.union(parts)
ALLOWED["__main__"] = {"cli"}
PUBLIC = [
    "CertifyMemory",
    "Curriculum",
    "ELMUR",
    "ELMURConfig",
    "ELMURTorchRLModule",
    "PAPER",
    "PPO_SETTINGS",
    "__version__",
    "certify",
    "load_policy",
    "use_elmur",
]
HOMES = {
    "ELMUR": "model",
    "ELMURConfig": "config",
    "ELMURTorchRLModule": "plugin",
    "use_elmur": "plugin",
    "load_policy": "acting",
    "certify": "proof",
    "CertifyMemory": "proof",
    "Curriculum": "plugin",
}


def part_of(file):
    """The part of the package a file belongs to: its folder, or its own name at the top."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(source, module):
    """Every name a module's source imports, dotted and absolute, wherever the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def imported_parts(source, module="rllib_elmur.some.module"):
    """The parts of the package that a module's source imports; "" is the package itself."""
    parts = set()
    for name in imports(source, module):
        first, *rest = name.split(".")
        if first == "rllib_elmur" and rest != ["__version__"]:
            parts.add(HOMES.get(rest[0], rest[0]) if rest else "")
    return parts


def module_name(file):
    return ".".join(("rllib_elmur", *file.relative_to(PACKAGE).with_suffix("").parts))


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("import rllib_elmur.plugin.use", {"plugin"}),
        ("from rllib_elmur import plugin, config", {"plugin", "config"}),
        ("from rllib_elmur.plugin import use", {"plugin"}),
        ("from rllib_elmur import ELMUR, use_elmur", {"model", "plugin"}),
        ("from ..plugin import use", {"plugin"}),
        ("from .. import envs", {"envs"}),
        ("def f():\n    from rllib_elmur.envs import rule", {"envs"}),
        ("import rllib_elmur", {""}),
        ("from rllib_elmur import __version__", set()),
        ("import rllib_elmurs, torch", set()),
    ],
)
def test_the_reader_of_imports_finds_every_form(statement, found):
    assert imported_parts(statement) == found


def test_imports_run_one_way():
    parts = {part_of(file) for file in FILES} - {"__init__"}
    assert parts <= set(ALLOWED), "a part that the architecture does not know"
    wrong = []
    for file in FILES:
        part = part_of(file)
        if part == "__init__":  # the public names and the environment ids: above all parts
            continue
        allowed = ALLOWED[part] | (
            {""}
            if part in ("cli", "report", "runs", "files", "proof", "acting", "plugin")
            else set()
        )
        for other in imported_parts(file.read_text(), module_name(file)) - allowed:
            wrong.append(f"{file.relative_to(PACKAGE)} imports {other or 'rllib_elmur'}")
    assert not wrong


@pytest.mark.parametrize("part", ["model", "config", "envs"])
def test_the_model_the_options_and_the_environments_import_no_ray(part):
    files = [file for file in FILES if part_of(file) == part]
    assert files
    for file in files:
        names = imports(file.read_text(), module_name(file))
        assert not [name for name in names if name.split(".")[0] == "ray"], file


def test_the_environments_import_no_torch():
    for file in FILES:
        if part_of(file) == "envs":
            names = imports(file.read_text(), module_name(file))
            assert not [name for name in names if name.split(".")[0] == "torch"], file


def files_behind(part):
    """The files of a part, and those of the package that they import, however far away."""
    by_name = {module_name(file): file for file in FILES if part_of(file) != "__init__"}
    waiting, found = [file for file in FILES if part_of(file) == part], set()
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for name in imports(file.read_text(), module_name(file)):
            # `from package.module import name` or `import package.module`
            for module in (name, name.rpartition(".")[0]):
                waiting += [by_name[m] for m in (module, f"{module}.__init__") if m in by_name]
    return found


def test_proofs_need_no_command_line_no_screen_and_no_tune():
    behind = files_behind("proof")
    assert {part_of(file) for file in behind} == {
        *("proof", "acting", "plugin", "model", "config", "envs", "errors")
    }
    foreign = {
        name
        for file in behind
        for name in imports(file.read_text(), module_name(file))
        if name.split(".")[0] in ("typer", "click", "rich") or name.startswith("ray.tune")
    }
    # RLlib keeps its own registry of environments there.
    assert {name for name in foreign if not name.startswith("ray.tune.registry.")} == set()


@pytest.mark.parametrize("part", ["files", "runs", "report"])
def test_only_the_command_knows_the_command_line_and_the_screen(part):
    for file in FILES:
        if part_of(file) == part:
            names = imports(file.read_text(), module_name(file))
            assert not {name.split(".")[0] for name in names} & {"typer", "click", "rich"}, file


def test_one_file_knows_how_flags_are_made():
    users = {
        str(file.relative_to(PACKAGE))
        for file in FILES
        if re.search(r"typer\.(Option|Argument)", file.read_text())
    }
    assert users == {"cli/flags.py"}


def test_a_file_has_at_most_250_lines():
    long = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: lines for name, lines in long.items() if lines > 250} == {}


def test_a_function_has_at_most_50_lines():
    long = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = node.end_lineno - node.lineno + 1
                if lines > 50:
                    long[f"{file.relative_to(PACKAGE)}: {node.name}"] = lines
    assert long == {}


def run_python(code):
    """Runs code in a fresh interpreter; returns what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WITHOUT_RAY = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        return None if name.split(".")[0] == "ray" else self.finder.find_spec(name, *args)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
try:
    import ray
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("ray is still there")
"""


def test_the_model_and_the_environments_work_where_ray_is_not_installed():
    code = f"""{WITHOUT_RAY}
import gymnasium, torch
from rllib_elmur import ELMUR, ELMURConfig
model = ELMUR(ELMURConfig())
outputs, state = model(torch.randn(2, 12, 64), model.initial_state(2))
observation, _ = gymnasium.make("rllib_elmur/TMazePassive-v0").reset(seed=0)
print(*outputs.shape, *state.clock.tolist(), *observation.shape, "ray" in sys.modules)
"""
    assert run_python(code) == "2 12 64 12 12 4 False"


def test_what_needs_ray_says_so_where_it_is_not_installed():
    code = f"""{WITHOUT_RAY}
import rllib_elmur
try:
    rllib_elmur.use_elmur
except ImportError as error:
    print(error.name)
"""
    assert run_python(code).split(".")[0] == "ray"


def test_importing_the_package_loads_neither_ray_nor_torch():
    code = 'import sys, rllib_elmur; print([m for m in ("ray", "torch") if m in sys.modules])'
    assert run_python(code) == "[]"


def test_the_public_names_are_these_and_each_can_be_had():
    assert sorted(rllib_elmur.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(rllib_elmur))
    for name in PUBLIC:
        assert getattr(rllib_elmur, name) is not None
    for name, part in HOMES.items():
        assert getattr(rllib_elmur, name).__module__.split(".")[1] == part
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rllib_elmur.nonsense
