"""The test command runs everything, also after a failure, and its exit code tells the truth."""

import sys
from collections import Counter

import pytest

from tools import test
from tools.stored_form import ROOT
from tools.test import Step, chosen, run_all, steps


def step(name: str, code: str) -> Step:
    return Step(name=name, command=(sys.executable, "-c", code))


def test_without_words_everything_runs_the_long_steps_first() -> None:
    parts, names = chosen([], fast=False)
    assert [each.name for each in steps(parts, names)] == [
        *(f"unit tests {n}" for n in (1, 2, 3)),
        *(f"notebooks {n}" for n in (1, 2)),
        *("ruff check", "ruff format", "pyright"),
    ]


def test_the_steps_leave_no_test_and_no_notebook_out() -> None:
    given = [word for each in steps(["unit", "notebooks"], []) for word in each.command]
    there = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "notebooks").glob("*.ipynb")]
    for path in there:
        place = str(path.relative_to(ROOT))
        assert sum(place == word or place.startswith(f"{word}/") for word in given) == 1, place
    assert {"bhushgpt", "tools"} <= set(given)


def test_fast_leaves_the_notebooks_out() -> None:
    assert chosen([], fast=True) == (["check", "unit"], [])


def test_a_name_means_that_notebook() -> None:
    (one,) = steps(*chosen(["04_bigram"], fast=False))
    assert one.command[-1] == "notebooks/04_bigram.ipynb"
    assert "--nbval-cell-timeout=120" in one.command


def test_steps_run_small_and_write_elsewhere() -> None:
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "BHUSHGPT_SCALE", "BHUSHGPT_RUNS")
    code = f"import os; print(*[os.environ[name] for name in {names}])"
    (result,) = run_all([step("environment", code)])
    threads, policy, scale, runs = result.output.split()
    assert (threads, policy, scale) == ("1", "passive", "smoke")
    assert "bhushgpt" not in runs.lower()


def test_all_steps_run_also_after_a_failure() -> None:
    first = [step("broken", "print('why'); exit(3)"), step("next", "print('done')")]
    results = run_all([*first, step("beside", "pass")])
    assert [(each.step.name, each.passed) for each in results] == [
        ("broken", False),
        ("next", True),
        ("beside", True),
    ]
    assert results[0].line().startswith("broken         FAILED")
    assert results[1].line().endswith("done")


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("exit(1)", 1)])
def test_the_exit_code_tells_whether_all_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, status: int
) -> None:
    monkeypatch.setattr(test, "check_steps", lambda: [step("only", code)])
    assert test.main(["check"]) == status
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("FAILED: only" if status else "All passed")


def test_every_test_file_has_a_name_of_its_own() -> None:
    """pytest imports them all by their names alone when it is called once for everything."""
    seen = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in seen.items() if count > 1] == []
