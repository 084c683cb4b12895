"""The sizes that a check uses are all different, so that no mix-up of two of them can pass.

An answer that takes T for H, the rows for the columns or n for the number of tokens is right by
chance where the two are equal. Of each exercise one of its first calls is looked at, the one with
the fewest equal sizes: the axes of each tensor, and the whole numbers given beside them.
"""

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from kill_table import exercises

from bhushgpt.exercises.exercise import Exercise

CALLS = 3
FUNCTIONS = {str(place): each for place, each in exercises() if isinstance(each, Exercise)}
EQUAL = {
    "07/prefix_softmax": "scores are T by T: every token asks, and every token is asked",
    "21/induction_score": "so are weights",
    "21/head_shares": "so are weights",
}


class Enough(Exception):
    """So many calls are enough to look at."""


def calls(exercise: Exercise) -> list[tuple[Any, ...]]:
    """Return the arguments of the first calls that a check makes."""
    seen: list[tuple[Any, ...]] = []

    @functools.wraps(exercise.reference)
    def recorded(*args: Any, **named: Any) -> Any:
        if len(seen) == CALLS:
            raise Enough
        seen.append((*args, *named.values()))
        return exercise.reference(*args, **named)

    exercise.judge(recorded)
    return seen


def shapes(values: Any) -> Iterator[tuple[int, ...]]:
    """Yield the shape of each tensor and array among some values, and in lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor | np.ndarray):
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


def fewest(exercise: Exercise) -> list[str]:
    """Return what is equal in the best of the calls looked at."""
    return min(map(equal_sizes, calls(exercise)), key=len)


@pytest.mark.parametrize("place", FUNCTIONS)
def test_no_two_sizes_of_a_check_are_equal(place):
    found = fewest(FUNCTIONS[place])
    assert bool(found) == (place in EQUAL), found or "nothing is equal any more: take it off EQUAL"
