"""A Ray outside of the range is one sentence with the range, before anything starts."""

import logging
import sys
from importlib.metadata import PackageNotFoundError

import pytest
import ray
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_elmur
from rllib_elmur.cli import verbs
from rllib_elmur.plugin import ray_versions, say_once
from rllib_elmur.plugin.use import use_elmur

RANGE = f"{ray_versions.OLDEST} to {ray_versions.NEWEST}"
OLDER = ["2.9.3", "2.50.0", "2.53.0", "1.13.0"]
NEWER = ["2.100.0", "3.0.0.dev0", "2.61.0rc1"]


@pytest.fixture
def installed(monkeypatch):
    """As if another Ray were installed."""
    monkeypatch.setattr(say_once, "_said", set())
    return lambda found: monkeypatch.setattr(ray_versions, "version", lambda name: found)


@pytest.mark.parametrize("found", OLDER)
def test_an_older_ray_is_an_error_with_both_versions(found, installed):
    installed(found)
    for action in (
        lambda: rllib_elmur.use_elmur,
        lambda: rllib_elmur.ELMURTorchRLModule,
        lambda: rllib_elmur.certify,
        lambda: use_elmur(PPOConfig()),
    ):
        with pytest.raises(ImportError) as error:
            action()
        assert f"Ray {found} " in str(error.value) and RANGE in str(error.value)


def test_what_needs_no_ray_can_be_had_beside_an_older_one(installed):
    installed("2.0.0")
    assert rllib_elmur.ELMURConfig().n_layers == 1
    assert rllib_elmur.ELMUR.__module__ == "rllib_elmur.model.elmur"


def test_the_command_says_so_before_it_reads_its_arguments(installed, monkeypatch, capsys):
    installed("2.53.0")
    monkeypatch.setattr(sys, "argv", ["rllib", "train", "file", "no-such-file.yaml"])
    with pytest.raises(SystemExit) as exit_:
        verbs.main()
    assert exit_.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "Ray 2.53.0 is too old" in said and RANGE in said and "no-such-file" not in said


def test_the_command_without_ray_says_no_more_than_that(monkeypatch, capsys):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ray_versions, "version", missing)
    monkeypatch.setattr(sys, "argv", ["rllib", "--help"])
    with pytest.raises(SystemExit) as exit_:
        verbs.main()
    said = " ".join(capsys.readouterr().err.split())
    assert exit_.value.code == 1
    assert said == f"Error: Ray is not installed: rllib_elmur needs ray[rllib] {RANGE}."


@pytest.mark.parametrize("found", NEWER)
def test_a_newer_ray_is_one_warning_and_goes_on(found, installed, caplog):
    installed(found)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            rllib_elmur.use_elmur(PPOConfig())
    [warning] = [r.getMessage() for r in caplog.records if r.name == "rllib_elmur"]
    assert f"Ray {found} " in warning and RANGE in warning


@pytest.mark.parametrize(
    "found", [ray_versions.OLDEST, f"{ray_versions.NEWEST}.9", "2.57.1", ray.__version__]
)
def test_nothing_is_said_within_the_range(found, installed, caplog):
    installed(found)
    with caplog.at_level(logging.WARNING):
        rllib_elmur.use_elmur(PPOConfig())
    assert not [r for r in caplog.records if r.name == "rllib_elmur"]


def test_a_missing_ray_is_named(monkeypatch):
    def missing(name):
        raise ray_versions.PackageNotFoundError(name)

    monkeypatch.setattr(ray_versions, "version", missing)
    with pytest.raises(ImportError, match=f"not installed.*{RANGE}") as error:
        ray_versions.require_ray()
    assert error.value.name == "ray"
