"""The proof that a checker works: what it must accept, and what it must answer to each mistake."""

from collections.abc import Callable, Mapping
from typing import Any

from bhushgpt.exercises.exercise import Exercise, ValueExercise


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
        assert outcome == exercise.judge(answer), f"{exercise.name}: {name}: answer changes"


def label(answer: Any) -> str:
    """Return the name of a wrong answer, for the failure's text."""
    return answer.__name__ if isinstance(answer, Callable) else repr(answer)
