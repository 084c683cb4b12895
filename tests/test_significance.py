"""The permutation test is what counting by hand says, and its smallest value is no accident."""

import math
import random
from statistics import mean

import pytest

from bhushgpt.errors import UserError
from bhushgpt.exercises.nb22_modern_gpt import p_value as exercise
from bhushgpt.significance import p_value


def test_it_is_the_count_by_hand() -> None:
    draw = random.Random(3)
    for n, m in ((3, 4), (5, 5), (2, 6)):
        first, second = ([draw.gauss(0, 1) for _ in range(k)] for k in (n, m))
        assert p_value(first, second) == pytest.approx(exercise.reference(first, second))
        assert p_value(first, second) == pytest.approx(p_value(second, first))


def test_groups_that_do_not_overlap_have_the_least_value_there_is() -> None:
    assert p_value([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == 2 / 252


def test_equal_means_are_no_difference() -> None:
    assert p_value([1.1, 2.2], [2.2, 1.1]) == 1


def test_without_a_difference_one_in_twenty_is_below_five_per_cent() -> None:
    draw = random.Random(0)
    found = [
        p_value([draw.gauss(0, 1) for _ in range(5)], [draw.gauss(0, 1) for _ in range(5)])
        for _ in range(400)
    ]
    assert 0.02 < mean(p <= 0.05 for p in found) < 0.08


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([], [1.0], "0 and 1 came"),
        ([1.0], [math.nan], "must be a number"),
        ([0.0] * 15, [1.0] * 15, "at most 11 with 11"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, said: str) -> None:
    with pytest.raises(UserError, match=said):
        p_value(first, second)
