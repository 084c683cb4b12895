"""The mutants are the same ones in each run, of many kinds, and a small sample is caught.

All of them: `python -m tests.exercises.kill_table --mutants`, or `make faults`.
"""

import itertools

import pytest
from kill_table import (
    HERE,
    MUSEUM,
    Row,
    complaints,
    equivalents,
    exercises,
    set_loose,
    summary,
    table,
)
from mutants import mutants

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.passport import PLACES

FUNCTIONS = [(place, each) for place, each in exercises() if isinstance(each, Exercise)]


def shared_out(parts, n):
    """Return the larger half of the parts, and how many they are."""
    large = sorted(parts, reverse=True)[: n // 2]
    if n > 4:
        large[0] -= 1
    return large, len(large)


def checked(answer):
    return None if answer([5, 1, 3], 2) == ([5], 1) else "no."


SMALL = Exercise(name="small", question="q", hints=("h",), reference=shared_out, checks=checked)


def test_the_mutants_of_a_small_function():
    found = [str(mutant) for mutant in mutants(SMALL)]
    assert found == [str(mutant) for mutant in mutants(SMALL)] and len(found) == len(set(found))
    kinds = {text.rpartition("(")[2].rstrip(")") for text in found}
    assert kinds == {
        "statement missing",
        "index missing",
        "bound missing",
        "bound",
        "step missing",
        "argument missing",
        "constant",
        "operator",
        "sides swapped",
        "comparison",
        "condition turned",
        "condition missing",
        "branch missing",
        "not added",
        "result swapped",
        "other name",
    }
    assert "line 3: parts -> n (other name)" in found
    assert "line 4: n > 4 -> n < 4 (comparison)" in found
    assert (
        "line 6: return (large, len(large)) -> return (len(large), large) (result swapped)" in found
    )


def test_a_mutant_that_nobody_catches_is_complained_of(monkeypatch):
    """The check above never looks at n > 4, so the mutants of that line live."""
    monkeypatch.setattr("kill_table.MUSEUM", {})
    row = set_loose(PLACES[0], SMALL)
    assert 0 < len(row.alive) < row.mutants
    assert "line 5: large[0] -= 1 -> nothing (statement missing)" in row.alive
    said = complaints({PLACES[0]: row})
    assert len(said) == len(row.alive) and "00/chances_after calls this right: line" in said[0]
    listed = Row(mutants=3)
    monkeypatch.setattr("kill_table.equivalents", lambda: {"00/chances_after": {"x": "y"}})
    assert "has no such mutant any more: x" in complaints({PLACES[0]: listed})[0]


@pytest.mark.parametrize(("place", "exercise"), FUNCTIONS[::5], ids=lambda each: str(each)[:24])
def test_a_sample_is_caught(place, exercise):
    known = equivalents().get(str(place), {})
    for mutant in itertools.islice(mutants(exercise), 5, None, 23):
        outcome = exercise.judge(mutant.answer)
        assert outcome.status != "right" or str(mutant) in known, f"{mutant}: {outcome}"


def test_every_reason_belongs_to_an_exercise_and_says_something():
    known = equivalents()
    assert set(known) <= {str(place) for place, _ in FUNCTIONS}
    assert all(len(reason) > 20 for reasons in known.values() for reason in reasons.values())


def test_the_kill_table_in_the_docs_has_a_row_for_each_exercise_and_enough_of_all():
    rows = [
        [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    names = [row[0] for row in rows]
    assert names == ["exercise", "---", *map(str, PLACES), f"all {len(PLACES)}"]
    right, wrong, made, told, stopped, same = map(int, rows[-1][1:])
    assert right >= 3 * len(PLACES) and wrong >= 900 and made >= 1000
    assert told + stopped == made - same >= 0.985 * made
    # Two changes of one line may read alike, and share their reason.
    reasons = sum(map(len, equivalents().values()))
    assert reasons <= same <= reasons + 2
    assert all(int(row[1]) >= 3 for row in rows[2:])
    assert table({PLACES[0]: Row(wrong=2)}).endswith("| all 1 | 0 | 2 | 0 | 0 | 0 | 0 |")
    assert (
        summary({PLACES[0]: Row(wrong=2)}) == "0 right answers, 2 wrong ones."
        and MUSEUM is not None
    )
