"""The suite trains what it is asked for, goes on where it stopped, and reads its own files."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import suite
import suite_table
import suite_tasks
import suite_training
from rich.console import Console

ROOT = Path(__file__).parents[2]
FALLS = {1: 0.0, 2: 0.5, 3: 0.25}  # by seed
SHORT = ["--steps", "400", "--set", "train_batch_size_per_learner=200", "minibatch_size=100"]


def called(*words):
    """The suite's command in a process of its own."""
    script = ROOT / "tests" / "benchmarks" / "suite.py"
    return subprocess.run(
        [sys.executable, script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def job(task="memory_len5", policy="elmur", **changes):
    words = {"label": policy, "seed": 1, "steps": 400, **changes}
    return suite_training.Job(task, suite_tasks.TASKS[task], policy, **words)


def record(returns, task="memory_len5", policy="elmur", seed=1):
    """A file's content: a curve with the same value for return and success."""
    rows = [
        {"env steps": 100 * (i + 1), "return": value, "success": value, "seconds": i + 1.0}
        for i, value in enumerate(returns)
    ]
    described = job(task, policy, seed=seed).described()
    return {"run": json.loads(json.dumps(described)), "rows": rows}


@pytest.fixture
def main(monkeypatch, capsys):
    """Runs the suite's command in this process: what ended it, and what it printed."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["suite.py", *map(str, words)])
        end = None
        try:
            suite.main()
        except SystemExit as error:
            end = error.code
        return end, capsys.readouterr().out

    return run


def test_a_training_that_fails_is_named_and_others_are_run_once_and_read_again(tmp_path, main):
    asked = ["--tasks", "memory_size3", "--policies", "elmur", "lstm", "--folder", tmp_path, *SHORT]
    first = called(*asked, "--elmur", '{"segment_length": 0}')
    assert first.returncode == 1 and "failed: memory_size3 elmur seed 1" in first.stderr
    assert "segment_length=0: must be" in first.stderr
    assert "2 trainings to run, 0 are there" in first.stdout
    assert re.search(r"memory_size3 lstm seed 1: 4\d\d of 400 env steps", first.stdout)
    assert [file.name for file in tmp_path.glob("*/*.json")] == ["lstm-1.json"]
    second = called(*asked)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "1 trainings to run, 1 are there" in second.stdout
    for policy in ("elmur", "lstm"):
        content = json.loads((tmp_path / "memory_size3" / f"{policy}-1.json").read_text())
        middle, end = (row["env steps"] for row in content["rows"])  # 16 environments at a time
        assert 200 <= middle < 216 and 400 <= end < 432
        assert all(-1 <= row["return"] <= 1 for row in content["rows"])
        assert content["run"]["settings"]["train_batch_size_per_learner"] == 200
    end, printed = main(*asked)
    assert end is None and "0 trainings to run, 2 are there" in printed
    end, _ = main(*asked, "--elmur", '{"segment_length": 3}')
    assert "trained with another model" in end
    end, printed = main("--table", "--folder", tmp_path, "--picture", tmp_path / "suite.png")
    assert end is None and "memory_size" in printed
    assert (tmp_path / "suite.png").read_bytes()[1:4] == b"PNG"


def test_seeds_come_one_after_the_other_so_that_policies_can_be_compared_early():
    arguments = suite.command_line().parse_args(
        ["--tasks", "Repeat*Easy", "--seeds", "1", "2", "--policies", "elmur", "lstm"]
    )
    jobs = [str(job) for job in suite.jobs_of(arguments)]
    assert jobs[:4] == [f"RepeatFirstEasy {p} seed {s}" for s in (1, 2) for p in ("elmur", "lstm")]
    assert len(jobs) == 8


def test_the_time_left_counts_no_step_beyond_what_was_asked_for():
    first, second = job(seed=1), job(seed=2)
    console = Console(width=200, record=True)
    progress = suite.Progress([first, second], console)
    progress.point(first, {"env steps": 700, "return": 0.5, "seconds": 1.0})
    assert "700 of 400 env steps, return 0.5, 700 env steps/s" in console.export_text(clear=False)
    assert "all: 50%" in console.export_text()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--set", "learning_rate=1"], "with a key of train_batch_size_per_learner"),
        (["--set", "lr=fast"], "the value must be JSON"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(words, problem, capsys):
    with pytest.raises(SystemExit):
        suite.command_line().parse_args(words)
    assert problem in capsys.readouterr().err


def test_a_task_that_is_unknown_is_refused():
    with pytest.raises(ValueError, match=r"--tasks RepeatFrst: must be 'popgym'.*RepeatFirstEasy"):
        suite_tasks.chosen(["RepeatFrst"])


def test_all_policies_get_the_same_settings_of_ppo_but_for_the_lstms_rate():
    configs = [suite_training.config_of(job(policy=policy)) for policy in suite_training.POLICIES]
    of_the_suite = {"max_seq_len", "mean_std_filter", "previous_action"}
    for key in set(suite_training.SETTINGS) - of_the_suite:
        values = [getattr(config, key) for config in configs]
        of_lstm = suite_training.LSTM_SETTINGS.get(key, suite_training.SETTINGS[key])
        assert values == [suite_training.SETTINGS[key]] * 2 + [of_lstm], key


def test_previous_actions_are_read_by_every_policy_or_by_none():
    for wanted in (False, True):
        settings = {"previous_action": wanted}
        elmur = suite_training.config_of(job(settings=settings))
        assert elmur.rl_module_spec.model_config["previous_action"] is wanted
        lstm = suite_training.config_of(job(policy="lstm", settings=settings)).build_algo()
        size = lstm.get_module().observation_space.shape[0]
        lstm.stop()
        assert size == 3 + wanted * 3  # of two actions, and of none


def test_the_papers_form_has_no_window_whatever_the_defaults_are():
    config = suite_training.config_of(job(policy="paper", model={"d_model": 32}))
    options = config.rl_module_spec.model_config
    assert options["attention_window"] is None and options["segment_length"] == 5
    assert options["d_model"] == 32 and options["max_seq_len"] == 64


def test_new_rows_stand_beside_those_that_are_saved():
    def row(task, policy, last):
        return {"task": task, "policy": policy, "last tenth": [last]}

    former = [
        row("MultiCue8", "lstm", 0.1),
        row("TMaze", "elmur", 0.2),
        row("MultiCue2", "lstm", 0),
    ]
    new = [row("MultiCue2", "lstm", 0.9)]
    names = [r["task"] for r in suite_table.beside(new, former, [])]
    assert names == [name for name in suite_tasks.TASKS if name in names] and len(names) == 3
    assert suite_table.beside(new, former, ["MultiCue*"]) == [new[0], former[0]]
    other = row("an:Environment-v0", "elmur", 0.3)
    assert suite_table.beside(new, [other, *former], [])[-1] == other


def test_seeds_are_joined_to_those_of_the_same_trainings_and_a_row_tells_the_worst_fall():
    falls = {seed: [*[0.0] * 10, *[1.0] * 10, *[1.0 - fall] * 10] for seed, fall in FALLS.items()}

    def row(*seeds):
        records = [record(falls[seed], "RepeatFirstEasy", seed=seed) for seed in seeds]
        (found,) = suite_table.rows_of({("RepeatFirstEasy", "elmur"): records})
        return found

    assert suite_table.joined(row(2), row(1, 3)) == row(1, 2, 3)
    assert suite_table.joined(row(1, 2), row(1, 3)) == row(1, 2, 3)
    assert row(1, 2, 3)["fall"] == pytest.approx(max(FALLS.values()) / 2)
    with pytest.raises(ValueError, match="RepeatFirstEasy elmur: seeds of env steps 7 cannot be"):
        suite_table.joined(row(2), {**row(1), "env steps": 7})


def test_the_last_tenth_stands_beside_the_best_one_and_a_fall_is_told():
    returns = [*np.linspace(-1, 1, 50), *np.linspace(1, 0.2, 50)]
    runs = {("RepeatFirstEasy", "elmur"): [record(returns, "RepeatFirstEasy")]}
    (row,) = suite_table.rows_of(runs)
    assert row["best tenth"] == [pytest.approx(np.mean(np.sort(returns)[-10:]), abs=0.01)]
    assert row["last tenth"] == [pytest.approx(np.mean(returns[-10:]), abs=1e-4)]
    assert row["fall"] == pytest.approx((row["best tenth"][0] - row["last tenth"][0]) / 2, abs=1e-4)
    console = Console(width=200, record=True)
    console.print(suite_table.table_of([row]))
    assert f"fallen by {row['fall']:.0%}" in console.export_text()


def test_a_setting_of_bsuite_is_solved_by_a_regret_below_three_quarters_of_a_guess():
    runs = {
        (f"memory_len{n}", "elmur"): [record([success] * 10, f"memory_len{n}")]
        for n, success in ((1, 0.63), (2, 0.62), (3, 1.0))
    }
    rows = suite_table.rows_of(runs)
    assert [row["regret"] for row in rows] == [[0.74], [0.76], [0.0]]
    assert suite_table.solved(rows) == "2 of 3 solved"
