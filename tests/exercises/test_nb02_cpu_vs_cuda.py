"""Every wrong answer of notebook 02 fails with a message of its own."""

import time
from statistics import fmean, median

import pytest
from kill_table import assert_exercise

from bhushgpt.exercises.nb02_cpu_vs_cuda import fair_seconds
from bhushgpt.exercises.nb02_limits import (
    MLP_MISTAKES,
    WAITING_MISTAKES,
    bottleneck,
    mlp_flops,
)


def each(fn, clock, repeats, *, before=True, after=True):
    seconds = []
    for _ in range(repeats):
        if before:
            clock.synchronize()
        start = clock.now()
        fn()
        if after:
            clock.synchronize()
        seconds.append(clock.now() - start)
    return seconds


def warm(fn, warmup):
    for _ in range(warmup):
        fn()


def never_waits(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return median(each(fn, clock, repeats, before=False, after=False))


def waits_too_late(fn, clock, repeats, warmup):
    warm(fn, warmup)
    seconds = []
    for _ in range(repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        seconds.append(clock.now() - start)
        clock.synchronize()
    return median(seconds)


def waits_only_after(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return median(each(fn, clock, repeats, before=False))


def never_warms_up(fn, clock, repeats, warmup):
    return median(each(fn, clock, repeats))


def warms_up_twice(fn, clock, repeats, warmup):
    warm(fn, 2)
    return median(each(fn, clock, repeats))


def warms_up_once(fn, clock, repeats, warmup):
    warm(fn, min(warmup, 1))
    return median(each(fn, clock, repeats))


def mean(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return fmean(each(fn, clock, repeats))


def smallest(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return min(each(fn, clock, repeats))


def largest(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return max(each(fn, clock, repeats))


def unsorted_middle(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return each(fn, clock, repeats)[repeats // 2]


def total(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return sum(each(fn, clock, repeats))


def one_reading_around_all(fn, clock, repeats, warmup):
    warm(fn, warmup)
    clock.synchronize()
    start = clock.now()
    for _ in range(repeats):
        fn()
    clock.synchronize()
    return (clock.now() - start) / repeats


def milliseconds(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return 1000 * median(each(fn, clock, repeats))


def backwards(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return -median(each(fn, clock, repeats))


def own_clock(fn, clock, repeats, warmup):
    warm(fn, warmup)
    start = time.perf_counter()
    fn()
    clock.synchronize()
    return time.perf_counter() - start


def always_one_more(fn, clock, repeats, warmup):
    fn()
    return never_warms_up(fn, clock, repeats, warmup)


def adds_a_second(fn, clock, repeats, warmup):
    return 1.0 + never_warms_up(fn, clock, repeats, warmup)


def first(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return each(fn, clock, repeats)[0]


def last(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return each(fn, clock, repeats)[-1]


def mean_without_extremes(fn, clock, repeats, warmup):
    warm(fn, warmup)
    times = sorted(each(fn, clock, repeats))
    return fmean(times[1:-1] or times)


def measures_once(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return each(fn, clock, 1)[0]


def divided_by_repeats(fn, clock, repeats, warmup):
    warm(fn, warmup)
    return median(each(fn, clock, repeats)) / repeats


def measures_the_warm_up_too(fn, clock, repeats, warmup):
    return median(each(fn, clock, warmup + repeats))


TIMERS = [
    (measures_the_warm_up_too, "on a cold device"),
    (never_waits, "1 ms is the time to hand the work over"),
    (waits_too_late, "only after the clock was read the second time"),
    (waits_only_after, "you counted 50 s of somebody"),
    (never_warms_up, "you never warm up"),
    (warms_up_twice, "runs once; yours ran it 3 times"),
    (warms_up_once, "make 8 calls of fn; yours made 6"),
    (always_one_more, "runs once; yours ran it 2 times"),
    (mean, "that is the mean"),
    (smallest, "that is the smallest"),
    (largest, "that is the largest"),
    (unsorted_middle, "Sort before you take the middle"),
    (first, "that is the first repetition"),
    (last, "that is the last repetition"),
    (mean_without_extremes, "the median is 0.4 s, not 0.421 s"),
    (measures_once, "you measure once"),
    (divided_by_repeats, "do not divide it by repeats"),
    (total, "that is the sum"),
    (one_reading_around_all, "once around all repetitions"),
    (milliseconds, "these are milliseconds"),
    (backwards, "the time is negative"),
    (own_clock, "did not come from clock.now()"),
    (adds_a_second, "it took 101 ms, yours says 1.1 s"),
]

MLPS = [
    (lambda t, i, h, o: t * h * (i + o), "that is half"),
    (lambda t, i, h, o: 2 * t * i * h, "that is the first layer"),
    (lambda t, i, h, o: 2 * t * h * o, "that is the second layer"),
    (lambda t, i, h, o: 2 * h * (i + o), "that is one token"),
    (lambda t, i, h, o: h * (i + o), "that is the weights"),
    (lambda t, i, h, o: 6 * t * h * (i + o), "that is a training step"),
    (lambda t, i, h, o: (2 * t * i * h) * (2 * t * h * o), "so add"),
    (lambda t, i, h, o: 2 * t * i * h * o, "you multiplied all four"),
    (lambda t, i, h, o: 2 * t * i * h + 2 * h * o, "through the second layer, too"),
    (lambda t, i, h, o: 2 * t * t * h * (i + o), "tokens counts once"),
    (lambda t, i, h, o: 2 * t * i * o, "the hidden numbers lie between"),
    (lambda t, i, h, o: 2 * t * h * (i + o) + t * (h + o), "for 7, 3, 5, 2 it is 350, yours"),
]


def longest(launch, transfer, arithmetic):
    return sorted([(launch, "launch"), (transfer, "transfer"), (arithmetic, "arithmetic")])[-1][1]


BOTTLENECKS = [
    (
        lambda n, m: longest(m.launch, 2 * n * n * 4 / m.link, 2 * n**3 / m.flops),
        "the result has to come back",
    ),
    (
        lambda n, m: longest(m.launch, 3 * n * n / m.link, 2 * n**3 / m.flops),
        "a float32 has 4 of them",
    ),
    (
        lambda n, m: longest(m.launch, 12 * n * n / m.link, n**3 / m.flops),
        "each multiplication comes with",
    ),
    (
        lambda n, m: longest(m.launch, 12 * n * n / m.link, 2 * n**2 / m.flops),
        "not n**2",
    ),
    (
        lambda n, m: longest(m.launch, 12 * n * n / m.bandwidth, 2 * n**3 / m.flops),
        "use machine.link",
    ),
    (
        lambda n, m: "transfer" if 12 * n * n / m.link > 2 * n**3 / m.flops else "arithmetic",
        "you left out machine.launch",
    ),
    (lambda n, m: longest(m.launch, 12 * n * n, 2 * n**3), "amounts, not times"),
    (
        lambda n, m: min(
            (m.launch, "launch"),
            (12 * n * n / m.link, "transfer"),
            (2 * n**3 / m.flops, "arithmetic"),
        )[1],
        "that is the shortest",
    ),
    (lambda n, m: longest(m.launch, 4 * n * n / m.link, 2 * n**3 / m.flops), "one matrix crosses"),
    (lambda n, m: longest(m.launch, 96 * n * n / m.link, 2 * n**3 / m.flops), "32 bits"),
    (lambda n, m: longest(m.launch, 24 * n * n / m.link, 2 * n**3 / m.flops), "are a float64"),
    (lambda n, m: longest(m.launch, 12 * n / m.link, 2 * n**3 / m.flops), "to send, not n"),
    (
        lambda n, m: longest(1e-5, 12 * n * n / 10e9, 2 * n**3 / 10e12),
        "the machine that is given",
    ),
    (lambda n, m: max(m.launch, 12 * n * n / m.link, 2 * n**3 / m.flops), "not the time itself"),
    (lambda n, m: "launch", "you always say 'launch'"),
    (lambda n, m: "arithmetic", "you always say 'arithmetic'"),
    (lambda n, m: "transfer", "you always say 'transfer'"),
    (lambda n, m: "compute", "'compute' is none of the words"),
    (lambda n, m: "launch" if n < 99 else "transfer", "for 8000 it is arithmetic, yours says"),
]

CASES = [(fair_seconds, TIMERS), (mlp_flops, MLPS), (bottleneck, BOTTLENECKS)]


@pytest.mark.parametrize(("exercise", "wrong"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_wrong_answers_get_their_own_message(exercise, wrong):
    assert_exercise(exercise, stub=lambda *arguments: ..., wrong=wrong)


def test_every_named_mistake_has_a_wrong_answer():
    shown = {exercise.judge(answer).message for exercise, wrong in CASES for answer, _ in wrong}
    assert set(MLP_MISTAKES) | set(WAITING_MISTAKES) <= shown


def test_one_wait_between_repetitions_is_enough():
    def answer(fn, clock, repeats, warmup):
        warm(fn, warmup)
        clock.synchronize()
        return median(each(fn, clock, repeats, before=False))

    assert fair_seconds.judge(answer).status == "right"


def test_equal_formulas_pass():
    assert mlp_flops.judge(lambda t, i, h, o: 2 * t * h * (i + o)).status == "right"
