"""What a benchmark saves can be repeated, read again, and put into the pages' tables."""

import json
import sys

import docs_commands
import pytest
import yaml
from docs_pages import ROOT

from rllib_elmur.files.schema import load

RESULTS = ROOT / "docs" / "results"


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a benchmark by its name, as its siblings do."""
    monkeypatch.syspath_prepend(docs_commands.BENCHMARKS)
    return lambda name: __import__(name)


def test_a_saved_result_can_be_repeated_and_read_again(benchmark, monkeypatch, tmp_path):
    results = benchmark("results")
    words = [str(ROOT / "tests" / "benchmarks" / "speed.py"), "step", "--save", "two words"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    rows = [
        {"what": "a step", "ratio": 1.5, "seeds": [1, None]},
        {"what": "gr\u00f6\u00dfe", "ratio": None},
    ]
    results.save("two words", rows)
    record = json.loads((tmp_path / "two words.json").read_text(encoding="utf-8"))
    assert record["rows"] == rows and record["name"] == "two words"
    assert record["command"] == "python tests/benchmarks/speed.py step --save 'two words'"
    docs_commands.check(record["command"])
    assert record["machine"]["cores"] >= 1 and set(record["versions"]) >= {"python", "ray", "torch"}


def test_a_benchmark_takes_options_of_the_learner_beside_those_of_the_model(benchmark, tmp_path):
    options = {"memory_levels": 3, "weight_decay": 0.125, "advantage_floor": 0.25}
    example = benchmark("trainings").read_example("tmaze-ppo")
    [changes] = benchmark("learning").variants("tmaze-ppo", [options]).values()
    example["config"] |= changes
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump({"tmaze-ppo": example}))
    [trial] = load(file)[0].trials
    assert trial.config.rl_module_spec.model_config["memory_levels"] == 3
    learner = trial.config.learner_config_dict
    assert (learner["weight_decay"], learner["advantage_floor"]) == (0.125, 0.25)
    assert learner["encoder_weight_decay"] == 5.0  # the example's


def test_without_a_name_nothing_is_saved(benchmark, monkeypatch, tmp_path):
    results = benchmark("results")
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    results.save(None, [{"what": "a step"}])
    assert not (tmp_path / "results").exists()


def keys_of(name):
    (row, *_) = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    return set(row)


def test_a_training_of_today_has_the_figures_of_the_tables(benchmark):
    learning, curve = benchmark("learning"), [(4000.0 * i, 1.0, float(i)) for i in range(1, 7)]
    played = {f"corridor_length {n}": 1.0 for n in ("100", "1,000", "10,000")}
    figures = {"steps to 0.99": 20_000.0, "seconds to 0.99": 5.0, "lowest after 0.97": 1.0}
    row = learning.summary("tmaze", "a policy", 24_000, {7: {**figures, **played, "curve": curve}})
    assert keys_of("tmaze-real-values") <= set(row)
    assert row["all right"] == {"100": 1, "1,000": 1, "10,000": 1}
    row = learning.summary(
        "cartpole", "ELMUR {}", 1, {7: {**learning.cartpole_row(curve), "curve": curve}}
    )
    assert keys_of("memories-cartpole") <= set(row)


def test_an_example_of_rllibs_has_the_figures_of_the_table(benchmark):
    examples, curve = benchmark("rllib_examples"), [(4000.0, 21.5, 9.0), (8000.0, 210.0, 18.0)]
    arguments = examples.command_line().parse_args(["prev_actions_prev_rewards"])
    (name,) = arguments.examples
    row = examples.row_of(name, {peer: [curve] for peer in examples.PEERS}, arguments)
    assert keys_of("rllib-examples") == set(row)
    assert row["ELMUR's last tenth"] == [210.0] and row["ELMUR's steps to stop"] == [8000.0]


def test_a_certificate_of_today_has_the_figures_of_the_tables(benchmark):
    certificates, curve = (
        benchmark("certificates"),
        [(4000.0 * i, 1.0, float(i)) for i in range(1, 7)],
    )
    verdicts = [{"verdict": "proven", "states": 13, "gap": 5.0}] * len(curve)
    seeds = {7: certificates.row_of(curve, verdicts), 8: certificates.row_of(curve, verdicts)}
    row = certificates.summary({}, 24_000, seeds)
    assert keys_of("tmaze-proofs") | keys_of("corrected-proofs") <= set(row)
    assert row["proven of the 20 after it"] == [5, 5] and row["memories"] == [13, 13]
