"""An evaluation sweeps any option of an environment: rows, columns, titles and figures."""

import csv
import json

import pytest

LIMIT = ("--episodes", 2)


def rows_of(rllib, out, *arguments):
    code, output = rllib("evaluate", *arguments, *LIMIT, "--out", out)
    assert code == 0, output
    return json.loads(out.read_text()), output


def test_each_value_of_an_option_is_a_row(rllib, checkpoint, tmp_path):
    rows, output = rows_of(rllib, tmp_path / "rows.json", checkpoint, "--sweep", "slack=1,1.5,2e0")
    assert [row["slack"] for row in rows] == [1, 1.5, 2.0]
    assert all("corridor_length" not in row for row in rows)
    assert "slack" in output and "corridor length" not in output
    assert list(rows[0])[:3] == ["checkpoint", "slack", "episodes"]


def test_two_sweeps_are_every_combination(rllib, checkpoint, tmp_path):
    sweeps = ("--sweep", "corridor_length=2,[3,4]", "--sweep", "penalty_rule=standing_still")
    more = ("--sweep", "penalty_rule=behind_schedule")
    rows, output = rows_of(rllib, tmp_path / "rows.json", checkpoint, *sweeps, *more)
    assert [(row["corridor_length"], row["penalty_rule"]) for row in rows] == [
        (length, rule) for length in (2, [3, 4]) for rule in ("standing_still", "behind_schedule")
    ]
    assert "3-4" in output and "penalty rule" in output


def test_a_list_among_the_environments_options_is_a_sweep(rllib, checkpoint, tmp_path):
    options = '{"hint_steps": [1, 2], "corridor_length": [[2, 3]], "slack": 1.5}'
    rows, _ = rows_of(rllib, tmp_path / "rows.json", checkpoint, "--env-config", options)
    assert [(row["hint_steps"], row["corridor_length"]) for row in rows] == [
        (1, [2, 3]),
        (2, [2, 3]),
    ]
    # No more steps than 1.5 times the longest corridor, and one.
    assert all("slack" not in row and row["episode_length"] <= 6 for row in rows)


def test_a_table_has_a_column_of_each_swept_option(rllib, checkpoint, tmp_path):
    out = tmp_path / "rows.csv"
    code, _ = rllib("evaluate", checkpoint, "--sweep", "slack=1,2", *LIMIT, "--out", out)
    assert code == 0
    with out.open() as file:
        assert [row["slack"] for row in csv.DictReader(file)] == ["1", "2"]


@pytest.mark.parametrize("sweep", ["slack=1,1.5,2", "corridor_length=2,20"])
def test_success_is_drawn_against_a_swept_number(rllib, checkpoint, tmp_path, sweep):
    out = tmp_path / "figure.png"
    code, _ = rllib("evaluate", checkpoint, "--sweep", sweep, *LIMIT, "--out", out)
    assert code == 0 and out.read_bytes().startswith(b"\x89PNG")


def test_a_figure_needs_a_swept_number(rllib, checkpoint, tmp_path):
    out = tmp_path / "figure.png"
    code, output = rllib("evaluate", checkpoint, *LIMIT, "--out", out)
    assert code == 1 and "a swept number, such as --sweep OPTION=10,100,1000" in output


@pytest.mark.parametrize(
    ("sweep", "code", "expected"),
    [
        ("slack", 2, "'slack' must be a name and values"),
        ("=1,2", 2, "'=1,2' must be a name and values"),
        ("slack=", 2, "'slack=' must be a name and values"),
        ("slack=[1", 2, "'slack=[1': not valid YAML"),
        ("slak=1", 1, "did you mean 'slack'?"),
        ("slack=0.5", 1, "slack=0.5: must be"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(rllib, checkpoint, sweep, code, expected):
    found, output = rllib("evaluate", checkpoint, "--sweep", sweep, *LIMIT)
    assert found == code and expected in output
    assert "Traceback" not in output
