"""The sizes that a check uses are all different, so that no mix-up of two of them can pass; or one.

An answer that takes T for H, the rows for the columns or n for the number of tokens is right by
chance where the two are equal. Of each exercise one of its first calls is looked at, the one with
the fewest equal sizes: the axes of each tensor, and the whole numbers given beside them.

And every check tries an axis of size one, which `squeeze()` takes away where it must stay.
"""

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from kill_table import exercises

from bhushgpt.exercises.exercise import LONGEST, Exercise

CALLS = 3
TENSORS = torch.Tensor | np.ndarray
FUNCTIONS = {str(place): each for place, each in exercises() if isinstance(each, Exercise)}
EQUAL = {
    "07/prefix_softmax": "scores are T by T: every token asks, and every token is asked",
    "21/induction_score": "so are weights",
    "21/head_shares": "so are weights",
}


class Enough(Exception):
    """So many calls are enough to look at."""


def calls(exercise: Exercise) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the arguments and results of the first calls that a check makes."""
    seen: list[tuple[tuple[Any, ...], Any]] = []

    @functools.wraps(exercise.reference)
    def recorded(*args: Any, **named: Any) -> Any:
        if len(seen) == CALLS:
            raise Enough
        result = exercise.reference(*args, **named)
        seen.append(((*args, *named.values()), result))
        return result

    exercise.judge(recorded)
    return seen


SEEN = {place: calls(each) for place, each in FUNCTIONS.items()}


def shapes(values: Any) -> Iterator[tuple[int, ...]]:
    """Yield the shape of each tensor and array among some values, and in lists of them."""
    for value in values:
        if isinstance(value, TENSORS):
            yield tuple(value.shape)
        elif isinstance(value, list | tuple):
            yield from shapes(value)


def equal_sizes(arguments: tuple[Any, ...]) -> list[str]:
    """Return what is equal and could be mixed up in one call."""
    found = []
    dims: set[int] = set()
    for shape in shapes(arguments):
        dims |= set(shape)
        if any(one == other for one, other in pairwise(sorted(shape))):
            found.append(f"two axes of {shape}")
    numbers = [n for n in arguments if isinstance(n, int) and not isinstance(n, bool)]
    found += [f"twice the number {n}" for n in sorted(set(numbers)) if numbers.count(n) > 1]
    found += [f"the number {n} and an axis" for n in sorted(set(numbers) & dims)]
    return found


def fewest(place: str) -> list[str]:
    """Return what is equal in the best of the calls looked at."""
    return min((equal_sizes(arguments) for arguments, _ in SEEN[place]), key=len)


@pytest.mark.parametrize("place", FUNCTIONS)
def test_no_two_sizes_of_a_check_are_equal(place):
    found = fewest(place)
    assert bool(found) == (place in EQUAL), found or "nothing is equal any more: take it off EQUAL"


NO_AXIS_OF_ONE = {
    "04/loss_by_hand": "the result is one number and has no axes",
    "05/text_loss": "the result is one number and has no axes",
    "07/turn": "channels come in pairs, so the result has two or more",
    "18/answer_mean": "the result is one number and has no axes",
    "23/preference_loss": "the result is one number and has no axes",
}


def parts_of(result: Any) -> int:
    """Return how many tensors and arrays a result holds."""
    several = isinstance(result, tuple | list)
    return sum(isinstance(one, TENSORS) for one in (result if several else [result]))


PARTS = {
    place: found
    for place, seen in SEEN.items()
    if (found := max(parts_of(result) for _, result in seen))
}


def squeezed(exercise: Exercise, which: int) -> Any:
    """Return the reference, but one tensor of its result has lost its axes of size one."""

    @functools.wraps(exercise.reference)
    def answer(*args: Any, **named: Any) -> Any:
        result = exercise.reference(*args, **named)
        if isinstance(result, TENSORS):
            return result.squeeze()
        return [one.squeeze() if n == which else one for n, one in enumerate(result)]

    return answer


@pytest.mark.parametrize(
    ("place", "which"), [(place, n) for place, count in PARTS.items() for n in range(count)]
)
def test_an_axis_of_size_one_must_stay(place, which):
    outcome = FUNCTIONS[place].judge(squeezed(FUNCTIONS[place], which))
    assert outcome.status == ("right" if place in NO_AXIS_OF_ONE else "not yet"), outcome
    assert len(outcome.message) <= LONGEST


def test_only_exercises_without_such_an_axis_are_left_out():
    assert set(NO_AXIS_OF_ONE) <= set(PARTS) and len(PARTS) > 30
