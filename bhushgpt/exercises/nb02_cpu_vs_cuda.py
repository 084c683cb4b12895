"""Exercise of notebook 02: a fair timer.

Lesson: notebook 02.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.timing import Clock, FakeDevice, format_seconds

Answer = Callable[..., Any]
LAUNCH, BUSY = 0.001, 0.1  # seconds of the fake device's operation: handing over, computing
FAIR = LAUNCH + BUSY


def _time(
    answer: Answer,
    durations: Sequence[float] = (BUSY,),
    *,
    warmup: int = 0,
    queued: float = 0.0,
    cold: float = BUSY,
) -> tuple[float, list[str]]:
    """Let the answer time the durations, one a repetition; return its result and what it asked.

    Work of `queued` seconds is on the device already; each call of the warm-up takes `cold`.
    """
    device, log = FakeDevice(launch=LAUNCH), []
    device.run(queued)

    def logged(name: str) -> Answer:
        method = getattr(device, name)
        return lambda *arguments: (log.append(name), method(*arguments))[1]

    for name in ("now", "run", "synchronize"):
        setattr(device, name, logged(name))
    coming = iter([cold] * warmup + list(durations))
    result = answer(lambda: device.run(next(coming, BUSY)), device, len(durations), warmup)
    return float(result), log


def _reference_fair_seconds(fn: Answer, clock: Clock, repeats: int, warmup: int) -> float:
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - start)
    return median(seconds)


def _meaning(seconds: float, meanings: Mapping[float, str | None], other: str | None) -> str | None:
    return next((text for value, text in meanings.items() if abs(seconds - value) < 1e-6), other)


def _one_reading(answer: Answer) -> str | None:
    result, log = _time(answer)
    if "now" not in log:
        return "the time did not come from clock.now(), so a fake clock cannot check you."
    if log.count("run") != 1:
        return f"with repeats=1 and warmup=0, fn runs once; yours ran it {log.count('run')} times."
    no_wait = "1 ms is the time to hand the work over. Wait before the clock is read again."
    too_late = "you wait for the device, but only after the clock was read the second time."
    meanings = {
        FAIR: None,
        -FAIR: "the time is negative: subtract the start from the end.",
        1000 * FAIR: "these are milliseconds; return seconds.",
        LAUNCH: too_late if "synchronize" in log[log.index("run") :] else no_wait,
    }
    return _meaning(result, meanings, f"it took 101 ms, yours says {format_seconds(result)}.")


# The middle one is neither first, last nor in the middle, nor a mean without the extremes.
UNEVEN = [0.5, 9.0, 0.4, 0.2, 0.1, 0.3, 0.7]


def _many_readings(answer: Answer) -> str | None:
    alike, log = _time(answer, [BUSY] * 5, warmup=3)
    if (ran := log.count("run")) == 5:
        return "you never warm up: call fn() warmup times before you look at the clock."
    if ran == 4:
        return "after the warm-up you measure once; repeats=5 asks for five readings."
    if ran != 8:
        return f"warmup=3 and repeats=5 make 8 calls of fn; yours made {ran}."
    around_all = (
        "you read the clock once around all repetitions, so launches hide. Read it for each."
    )
    divided = "the median is the time of one repetition already; do not divide it by repeats."
    sums = {5 * FAIR: "that is the sum; return the middle one.", LAUNCH / 5 + BUSY: around_all}
    result, _ = _time(answer, UNEVEN)
    meanings = {
        0.4 + LAUNCH: None,
        1.6 + LAUNCH: "that is the mean, moved by one interruption of 9 s. Return the median.",
        0.1 + LAUNCH: "that is the smallest. Return the median.",
        9.0 + LAUNCH: "that is the largest. Return the median.",
        0.5 + LAUNCH: "that is the first repetition. Return the median of all.",
        0.7 + LAUNCH: "that is the last repetition. Return the median of all.",
        0.2 + LAUNCH: "that is the middle one in order of time. Sort before you take the middle.",
    }
    other = f"of 0.1, 0.2, 0.3, 0.4, 0.5, 0.7 and 9 s the median is 0.4 s, not {result:.3g} s."
    found = _meaning(alike, sums | {FAIR / 5: divided}, None) or _meaning(result, meanings, other)
    if found:
        return found
    even, _ = _time(answer, UNEVEN[:4])
    if abs(even - 0.45 - LAUNCH) > 1e-6:
        return "of an even number of readings the median is the mean of the two in the middle."
    return None


def _check_fair_seconds(answer: Answer) -> str | None:
    result, _ = _time(answer, queued=50.0)
    behind = "you counted 50 s of somebody else's work. Wait before the first reading, too."
    found = _one_reading(answer) or (behind if result > 1 else _many_readings(answer))
    if found:
        return found
    for repeats in (1, 3):
        result, _ = _time(answer, [BUSY] * repeats, warmup=repeats + 1, cold=8.0)
        if abs(result - FAIR) > 1e-6:
            return (
                "on a cold device the calls of the warm-up take 8 s each, and the others 0.1 s; "
                f"yours says {result:.3g} s. The warm-up is no measurement: look at the clock "
                "after it."
            )
    return None


fair_seconds = Exercise(
    name="fair_seconds",
    question="Return the median seconds of one call of fn, measured fairly with the given clock.",
    hints=(
        "First call fn() warmup times without looking at the clock.",
        "In each repetition: clock.synchronize(), clock.now(), fn(), then wait and read again.",
        "Collect the differences in a list; statistics.median gives the middle one.",
    ),
    praise="no launch time, no cold start, nobody else's work, and one interruption moves nothing.",
    reference=_reference_fair_seconds,
    checks=_check_fair_seconds,
)
