"""The learning rate: a pure function of the step."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.training_config import SCHEDULES, TrainingConfig, learning_rate


def settings(**changes: Any) -> TrainingConfig:
    plain = {"steps": 100, "learning_rate": 0.4, "warmup_steps": 10}
    return TrainingConfig(**{**plain, **changes})


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warm_up_is_a_straight_line_to_the_highest_rate(schedule):
    config = settings(schedule=schedule)
    rates = [learning_rate(step, config) for step in range(11)]
    assert rates[:10] == pytest.approx([0.04 * n for n in range(1, 11)])
    assert rates[10] == pytest.approx(0.4)


def test_constant_stays():
    rates = {learning_rate(step, settings()) for step in range(10, 300)}
    assert rates == {0.4}


def test_linear_falls_by_the_same_amount_each_step():
    config = settings(schedule="linear", min_learning_rate=0.04)
    rates = [learning_rate(step, config) for step in range(10, 101)]
    falls = [a - b for a, b in pairwise(rates)]
    assert falls == pytest.approx([0.36 / 90] * 90)
    assert rates[-1] == pytest.approx(0.04)


def test_cosine_is_half_way_in_the_middle_and_flat_at_both_ends():
    config = settings(schedule="cosine", min_learning_rate=0.04)
    assert learning_rate(10 + 45, config) == pytest.approx((0.4 + 0.04) / 2)
    assert learning_rate(10 + 30, config) == pytest.approx(
        0.04 + 0.36 * (1 + math.cos(math.pi / 3)) / 2
    )
    first = learning_rate(10, config) - learning_rate(11, config)
    middle = learning_rate(54, config) - learning_rate(55, config)
    last = learning_rate(98, config) - learning_rate(99, config)
    assert first < middle / 10 and last < middle / 10


def test_wsd_stays_and_then_falls_in_a_straight_line_to_the_end():
    config = settings(schedule="wsd", decay_steps=20, min_learning_rate=0.04)
    rates = [learning_rate(step, config) for step in range(10, 101)]
    assert set(rates[:71]) == {0.4}
    assert [a - b for a, b in pairwise(rates[70:])] == pytest.approx([0.36 / 20] * 20)
    assert rates[-1] == pytest.approx(0.04)


def test_wsd_takes_a_tenth_of_the_run_for_the_way_down_if_not_told():
    config = settings(schedule="wsd")
    assert learning_rate(90, config) == 0.4 > learning_rate(91, config)


def test_a_wsd_run_can_be_made_longer_and_a_cosine_run_cannot():
    for schedule, same in (("wsd", 91), ("cosine", 11)):
        short, long = settings(schedule=schedule), settings(schedule=schedule, steps=200)
        equal = [learning_rate(n, short) == learning_rate(n, long) for n in range(100)]
        assert equal.index(False) == same


def test_a_decay_that_is_longer_than_what_is_left_begins_after_the_warm_up():
    config = settings(schedule="wsd", decay_steps=500)
    assert learning_rate(10, config) == 0.4
    assert learning_rate(55, config) == pytest.approx(0.2)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_after_the_planned_end_the_rate_stays_at_the_minimum(schedule):
    config = settings(schedule=schedule, min_learning_rate=0.01)
    assert learning_rate(100, config) == learning_rate(5000, config) == pytest.approx(0.01)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_first_step_has_the_highest_rate(schedule):
    assert learning_rate(0, settings(schedule=schedule, warmup_steps=0)) == 0.4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_warm_up_longer_than_the_run_divides_by_nothing(schedule):
    config = settings(schedule=schedule, warmup_steps=100, steps=100)
    assert learning_rate(99, config) == 0.4
    assert learning_rate(100, config) == 0.4


@given(
    step=st.integers(0, 300),
    warmup=st.integers(0, 150),
    schedule=st.sampled_from(SCHEDULES),
    low=st.floats(0, 0.4),
)
def test_the_rate_is_never_above_the_highest_nor_below_what_is_allowed(step, warmup, schedule, low):
    config = settings(warmup_steps=warmup, schedule=schedule, min_learning_rate=low)
    rate = learning_rate(step, config)
    assert 0 < rate <= 0.4 + 1e-12 or low == 0
    if step >= warmup:
        assert rate >= low - 1e-12


@pytest.mark.parametrize(("steps", "down"), [(5, 1), (15, 2), (20, 2), (21, 3)])
def test_a_tenth_of_a_short_run_is_rounded_up(steps, down):
    config = settings(schedule="wsd", steps=steps, warmup_steps=0)
    rates = [learning_rate(step, config) for step in range(steps + 1)]
    assert rates == pytest.approx(
        [0.4] * (steps - down) + [0.4 * n / down for n in range(down, -1, -1)]
    )
