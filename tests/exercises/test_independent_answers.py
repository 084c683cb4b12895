"""Answers written from the cards alone: no right one is refused, and no wrong one passes."""

import importlib
from collections import Counter

import pytest
from kill_table import exercises

from bhushgpt.exercises.exercise import LONGEST, Question

NOTEBOOKS = [f"{number:02}" for number in range(25)]
QUESTIONS: dict[tuple[str, str], Question] = {
    (place.notebook[:2], place.name): question for place, question in exercises() if place
}


def answers(notebook: str) -> list[tuple[str, str, str, object]]:
    """Return exercise, kind (right or wrong), what is special, and the answer itself."""
    found = vars(importlib.import_module(f"independent.nb{notebook}")).items()
    named = [(name.split("__"), answer) for name, answer in found if not name.startswith("_")]
    return [(each[0], each[1], each[2], answer) for each, answer in named if len(each) == 3]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_no_right_answer_is_refused_and_no_wrong_one_passes(notebook):
    for exercise, kind, what, answer in answers(notebook):
        outcome = QUESTIONS[notebook, exercise].judge(answer)
        expected = {"right": "right", "wrong": "not yet"}[kind]
        assert outcome.status == expected, f"{exercise}, {kind}, {what}: {outcome}"
        assert len(outcome.message) <= LONGEST


def test_every_exercise_has_a_right_and_two_wrong_answers():
    count = Counter((n, exercise, kind) for n in NOTEBOOKS for exercise, kind, *_ in answers(n))
    for notebook, exercise in QUESTIONS:
        assert count[notebook, exercise, "right"] >= 1, exercise
        assert count[notebook, exercise, "wrong"] >= 2, exercise
    assert sum(n for (*_, kind), n in count.items() if kind == "right") >= 100
    assert sum(n for (*_, kind), n in count.items() if kind == "wrong") >= 200
