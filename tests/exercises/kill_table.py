"""The proof that the checkers work: what they must accept, and what they must answer to mistakes.

    python -m tests.exercises.kill_table              count the museum: right and wrong answers
    python -m tests.exercises.kill_table --mutants    and let the mutants of all references loose
    python -m tests.exercises.kill_table --write      and write the table into README.md beside this

Status 1 if a right answer is refused, a wrong one accepted or a mutant unaccounted for.
"""

import argparse
import importlib
import pkgutil
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import bhushgpt.exercises
from bhushgpt.exercises import exercise as machinery
from bhushgpt.exercises.exercise import LONGEST, Exercise, Question, ValueExercise
from bhushgpt.exercises.passport import PLACES, Place, place_of

FEWEST_RIGHT = 3
HERE = Path(__file__).resolve().parent
EQUIVALENT = HERE / "equivalent_mutants.toml"
MUTANT_SECONDS = 10.0  # a loop that lost its end is caught by the clock


@dataclass
class Row:
    """What the museum holds of one exercise, and what became of its reference's mutants."""

    wrong: int = 0
    right: int = 0
    mutants: int = 0
    errors: int = 0
    """Mutants that stopped with an error by themselves."""
    alive: list[str] = field(default_factory=list)
    """Mutants that are called right."""

    def cells(self) -> list[int]:
        """Return the numbers of this row of the table."""
        said = self.mutants - self.errors - len(self.alive)
        return [self.right, self.wrong, self.mutants, said, self.errors, len(self.alive)]


MUSEUM: dict[Place, Row] = {}
"""What the tests have shown so far; of exercises of the course only."""


def exercises() -> Iterator[tuple[Place | None, Question]]:
    """Yield every exercise that a module of the course has, in the course's order."""
    names = [module.name for module in pkgutil.iter_modules(bhushgpt.exercises.__path__)]
    modules = [
        importlib.import_module(f"bhushgpt.exercises.{name}")
        for name in names
        if name.startswith("nb")
    ]
    found = [each for module in modules for each in vars(module).values()]
    pairs = [(place_of(each), each) for each in found if isinstance(each, Question)]
    yield from sorted(pairs, key=lambda pair: PLACES.index(pair[0]) if pair[0] else -1)


def assert_exercise(
    exercise: Exercise | ValueExercise,
    stub: object,
    wrong: Mapping[Any, str] | list[tuple[Any, str]],
) -> None:
    """Check one exercise against its reference, its stub and the wrong answers people give.

    `wrong` maps each wrong answer to a part of the message it must get. No answer may get the part
    that belongs to another one: a message names one mistake.
    """
    pairs = list(wrong.items()) if isinstance(wrong, Mapping) else wrong
    parts = [part for _, part in pairs]
    assert len(pairs) >= 3, f"{exercise.name}: only {len(pairs)} wrong answers"
    assert len(set(parts)) == len(parts), f"{exercise.name}: two wrong answers share a message"
    assert exercise.hints and all(exercise.hints), f"{exercise.name}: no hints"
    right = exercise.judge(exercise.reference)
    assert right.status == "right", f"{exercise.name}: the reference fails: {right}"
    for empty in (stub, None, ...):
        outcome = exercise.judge(empty)
        assert outcome.status == "not attempted", f"{exercise.name}: a stub is answered {outcome}"
    for answer, part in pairs:
        outcome = exercise.judge(answer)
        name = label(answer)
        assert outcome.status == "not yet", f"{exercise.name}: {name} passes: {outcome}"
        found = [other for other in parts if other in outcome.message]
        assert found == [part], f"{exercise.name}: {name} is answered {outcome}; found {found}"
        assert "\n" not in outcome.message, f"{exercise.name}: {name} gets more than one line"
        assert len(outcome.message) <= LONGEST, f"{exercise.name}: {name} gets a long message"
        assert outcome == exercise.judge(answer), f"{exercise.name}: {name}: answer changes"
    if place := place_of(exercise):
        MUSEUM.setdefault(place, Row()).wrong += len(pairs)


def assert_right(exercise: Exercise | ValueExercise, *answers: object) -> None:
    """Check that all these answers, each written in its own way, are called right."""
    assert len(answers) >= FEWEST_RIGHT, f"{exercise.name}: only {len(answers)} right answers"
    for answer in answers:
        outcome = exercise.judge(answer)
        assert outcome.status == "right", f"{exercise.name}: {label(answer)} is answered {outcome}"
    if place := place_of(exercise):
        MUSEUM.setdefault(place, Row()).right += len(answers)


def label(answer: Any) -> str:
    """Return the name of an answer, for the failure's text."""
    return answer.__name__ if isinstance(answer, Callable) else repr(answer)


def set_loose(place: Place, exercise: Exercise) -> Row:
    """Let a check judge all mutants of its reference, and enter what became of them."""
    from mutants import mutants  # beside this file, where `python -m` does not look at first

    row = MUSEUM.setdefault(place, Row())
    limit, machinery.TIME_LIMIT = machinery.TIME_LIMIT, MUTANT_SECONDS
    try:
        for mutant in mutants(exercise):
            outcome = exercise.judge(mutant.answer)
            assert len(outcome.message) <= LONGEST, f"{place}: {mutant} gets {outcome}"
            row.mutants += 1
            row.errors += outcome.message.startswith("your code stopped with")
            row.alive += [str(mutant)] if outcome.status == "right" else []
    finally:
        machinery.TIME_LIMIT = limit
    return row


def set_all_loose() -> None:
    """Let the mutants of all references loose."""
    # Where this signal is ignored, as behind `&` in a script, no endless loop could be stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, exercise in exercises():
        if place and isinstance(exercise, Exercise):
            set_loose(place, exercise)


def equivalents(file: Path = EQUIVALENT) -> dict[str, dict[str, str]]:
    """Return for each exercise the mutants that are right answers, with the reason."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


def complaints(museum: Mapping[Place, Row]) -> list[str]:
    """Return the mutants that are called right without a reason, and reasons without a mutant."""
    known, found = equivalents(), []
    for place, row in museum.items():
        reasons = known.get(str(place), {})
        found += [f"{place} calls this right: {one}" for one in row.alive if one not in reasons]
        found += [
            f"{place} has no such mutant any more: {one}" for one in reasons if one not in row.alive
        ]
    return found


def table(museum: Mapping[Place, Row]) -> str:
    """Return the kill table as Markdown."""
    heads = ["exercise", "right", "wrong", "mutants", "told why", "stopped", "equivalent"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    rows = [(str(place), museum[place].cells()) for place in PLACES if place in museum]
    rows += [
        (f"all {len(rows)}", [sum(column) for column in zip(*(c for _, c in rows), strict=True)])
    ]
    for name, cells in rows:
        lines.append(f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    return "\n".join(lines)


def summary(museum: Mapping[Place, Row]) -> str:
    """Return the totals in a sentence."""
    cells = [row.cells() for row in museum.values()]
    right, wrong, made, *_, alive = [sum(column) for column in zip(*cells, strict=True)]
    share = f"; {1 - alive / made:.2%} of {made:,} mutants caught" if made else ""
    return f"{right:,} right answers, {wrong:,} wrong ones{share}."


def main(arguments: list[str] | None = None) -> int:
    """Count, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.exercises.kill_table", description=__doc__)
    parser.add_argument("--mutants", action="store_true", help="let the mutants loose, for minutes")
    parser.add_argument("--write", action="store_true", help="write README.md, mutants included")
    flags = parser.parse_args(arguments)
    # Without the tests of the mutants, one of which reads the table that is to be written.
    shown = f"--ignore={HERE / 'test_mutants.py'}"
    status = int(pytest.main(["-q", "-p", "no:cacheprovider", shown, str(HERE)]))
    wrong: list[str] = []
    if flags.mutants or flags.write:
        set_all_loose()
        wrong = complaints(MUSEUM)
    print(table(MUSEUM), *wrong, sep="\n")
    if flags.write and not wrong and not status:
        readme = HERE / "README.md"
        head = readme.read_text(encoding="utf-8").partition("| exercise |")[0]
        readme.write_text(f"{head}{table(MUSEUM)}\n", encoding="utf-8")
    print(summary(MUSEUM))
    return 1 if wrong or status else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(importlib.import_module("kill_table").main())
