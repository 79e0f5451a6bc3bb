"""What the package declares, what it checks itself, and what is run are the same versions."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from rllib_elmur.plugin import ray_versions

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}
CONSTRAINTS = {
    canonicalize_name(r.name): r
    for r in map(Requirement, re.findall(r"^\w.*$", (ROOT / "constraints.txt").read_text(), re.M))
}
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
RUN = WORKFLOW["versions"]["strategy"]["matrix"]["include"]


def minors(specifier):
    """The minor versions that a specifier admits, such as 3.11."""
    major = re.search(r"\d+", str(specifier)).group()
    return [v for i in range(200) if (v := f"{major}.{i}") in specifier]


def test_pip_and_the_package_admit_the_same_versions_of_ray():
    admitted = minors(DEPENDENCIES["ray"].specifier)
    assert [admitted[0], admitted[-1]] == [ray_versions.OLDEST, ray_versions.NEWEST]
    assert [v for v in minors(SpecifierSet(">=2.0")) if not ray_versions.why_not(v)] == admitted


def test_the_classifiers_name_the_versions_of_python_that_pip_admits():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert named == minors(SpecifierSet(PROJECT["requires-python"]))


def test_both_ends_of_both_ranges_are_run():
    rays = [Version(run["ray"]) for run in RUN]
    pythons = [Version(run["python"]) for run in RUN]
    for runs, declared in (
        (rays, DEPENDENCIES["ray"].specifier),
        (pythons, SpecifierSet(PROJECT["requires-python"])),
    ):
        admitted = minors(declared)
        ends = {f"{v.major}.{v.minor}" for v in (min(runs), max(runs))}
        assert ends == {admitted[0], admitted[-1]}


def test_the_exact_set_of_packages_has_every_dependency_in_a_version_that_is_admitted():
    groups = PROJECT["optional-dependencies"]
    wanted = map(Requirement, [*groups["dev"], *groups["suite"]])
    for requirement in [*DEPENDENCIES.values(), *wanted]:
        name = canonicalize_name(requirement.name)
        # The package itself, with another group of its own; a tool of the developer's.
        if name in ("rllib-elmur", "pre-commit"):
            continue
        (pin,) = CONSTRAINTS[name].specifier
        assert pin.version in requirement.specifier, requirement
