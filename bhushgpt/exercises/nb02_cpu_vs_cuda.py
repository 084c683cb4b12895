"""Exercises of notebook 02: a fair timer, counted work, and what a product waits for."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from bhushgpt.clocks import Clock, FakeDevice
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.roofline import Limits
from bhushgpt.timing import format_seconds

Answer = Callable[..., Any]
LAUNCH, BUSY = 0.001, 0.1  # seconds of the fake device's operation: handing over, computing
FAIR = LAUNCH + BUSY


def _time(
    answer: Answer, durations: Sequence[float] = (BUSY,), *, warmup: int = 0, queued: float = 0.0
) -> tuple[float, list[str]]:
    """Let the answer time the durations, one a repetition; return its result and what it asked."""
    device, log = FakeDevice(launch=LAUNCH), []
    device.run(queued)

    def logged(name: str) -> Answer:
        method = getattr(device, name)
        return lambda *arguments: (log.append(name), method(*arguments))[1]

    for name in ("now", "run", "synchronize"):
        setattr(device, name, logged(name))
    coming = iter([BUSY] * warmup + list(durations))
    result = answer(lambda: device.run(next(coming, BUSY)), device, len(durations), warmup)
    return float(result), log


def _reference_fair_seconds(
    fn: Callable[[], object], clock: Clock, repeats: int, warmup: int
) -> float:
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


def _near(value: float, expected: float) -> bool:
    return abs(value - expected) < 1e-6


def _one_reading(answer: Answer) -> str | None:
    """Look at the simplest case: one repetition, nothing queued, no cold start."""
    result, log = _time(answer)
    came, fair = format_seconds(abs(result)), format_seconds(FAIR)
    if "now" not in log:
        return "the time did not come from clock.now(), so a fake clock cannot check you."
    if log.count("run") != 1:
        return f"with repeats=1 and warmup=0, fn runs once; yours ran it {log.count('run')} times."
    if _near(result, -FAIR):
        return "the time is negative: subtract the start from the end."
    if _near(result, FAIR * 1000):
        return "these are milliseconds; return seconds."
    if _near(result, LAUNCH) and "synchronize" in log[log.index("run") :]:
        return "you wait for the device, but only after the clock was read the second time."
    if _near(result, LAUNCH):
        return (
            f"{came} is the time to hand the work over; the device was busy for {fair}. "
            "Wait for it before the clock is read the second time."
        )
    return None if _near(result, FAIR) else f"one operation took {fair}, yours says {came}."


def _check_fair_seconds(answer: Answer) -> str | None:
    mistake = _one_reading(answer)
    if mistake:
        return mistake
    result, _ = _time(answer, queued=50.0)
    if result > 1:
        return (
            "50 s of somebody else's work were in the queue, and you counted them. "
            "Wait for the device before the clock is read the first time, too."
        )
    _, log = _time(answer, [BUSY] * 4, warmup=3)
    ran = log.count("run")
    if ran == 4:
        return "you never warm up: call fn() warmup times before you look at the clock."
    if ran != 7:
        return f"warmup=3 and repeats=4 make 7 calls of fn; yours made {ran}."
    return _many_readings(answer)


def _many_readings(answer: Answer) -> str | None:
    """Look at what is made of several repetitions."""
    alike, _ = _time(answer, [BUSY] * 5)
    if _near(alike, 5 * FAIR):
        return "that is the sum of all repetitions; return the middle one."
    if _near(alike, LAUNCH / 5 + BUSY):
        return (
            "you read the clock once around all repetitions, so handing over the next one hides "
            "behind the work of the one before. Read it around each."
        )
    result, _ = _time(answer, [0.4, 0.3, 0.2, 0.1, 9.0])
    makers = {2.0: "mean; one interruption of 9 s moved it", 0.1: "smallest", 9.0: "largest"}
    for seconds, maker in makers.items():
        if _near(result, seconds + LAUNCH):
            return f"that is the {maker}. Return the median."
    if not _near(result, 0.3 + LAUNCH):
        return (
            "of 0.4, 0.3, 0.2, 0.1 and 9 s the median is 0.3 s (and the launch), "
            f"yours says {format_seconds(result)}. Sort before you take the middle."
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


def _diagnosed(
    answer: Answer, cases: Sequence[tuple], right: Answer, mistakes: dict[str, Answer]
) -> str | None:
    """Run all cases, and name the mistake that gives exactly these answers."""
    came, expected = [answer(*case) for case in cases], [right(*case) for case in cases]
    if came == expected:
        return None
    for message, wrong in mistakes.items():
        if came == [wrong(*case) for case in cases]:
            return message
    shown = next(i for i in range(len(cases)) if came[i] != expected[i])
    case = ", ".join(str(value) for value in cases[shown] if not isinstance(value, Limits))
    return f"for {case} it is {expected[shown]}, yours says {came[shown]}."


def _reference_mlp_flops(tokens: int, inputs: int, hidden: int, outputs: int) -> int:
    first = 2 * tokens * inputs * hidden
    second = 2 * tokens * hidden * outputs
    return first + second


MLP_CASES = [(7, 3, 5, 2), (2, 11, 13, 17)]
MLP_MISTAKES: dict[str, Answer] = {
    "that is half: each product comes with an addition.": lambda t, i, h, o: t * h * (i + o),
    "that is the first layer alone.": lambda t, i, h, o: 2 * t * i * h,
    "that is the second layer alone.": lambda t, i, h, o: 2 * t * h * o,
    "that is one token; each goes through both layers.": lambda t, i, h, o: 2 * h * (i + o),
    "that is the weights; a token uses each of them twice.": lambda t, i, h, o: h * (i + o),
    "that is a training step, three times as much.": lambda t, i, h, o: 6 * t * h * (i + o),
    "one layer runs after the other, so add.": lambda t, i, h, o: 4 * t * i * h * t * h * o,
    "the hidden numbers lie between the two ends.": lambda t, i, h, o: 2 * t * i * o,
}

mlp_flops = Exercise(
    name="mlp_flops",
    question="Return the FLOPs of two layers, (tokens, inputs) to hidden to outputs, forward.",
    hints=(
        "Each layer is one matrix product: (tokens, inputs) @ (inputs, hidden) is the first.",
        "An (m, k) @ (k, n) product takes 2 * m * k * n operations.",
    ),
    praise="a GPT's MLP, C to 4C to C, so takes 16 * tokens * C * C.",
    reference=_reference_mlp_flops,
    checks=lambda answer: _diagnosed(answer, MLP_CASES, _reference_mlp_flops, MLP_MISTAKES),
)


def _reference_bottleneck(n: int, machine: Limits) -> str:
    assert machine.link is not None
    times = {
        "launch": machine.launch,
        "transfer": 3 * n * n * 4 / machine.link,
        "arithmetic": 2 * n**3 / machine.flops,
    }
    return max(times, key=lambda name: times[name])


# An imagined device with round numbers; the sizes lie between the places where mistakes turn.
IMAGINED = Limits(flops=10e12, bandwidth=1e12, launch=1e-5, link=10e9)
BOTTLENECK_CASES = [(n, IMAGINED) for n in (4, 50, 100, 1000, 2000, 5000, 8000, 20000)]


def _longest(
    *, launch: float = 1e-5, sent: float = 12 / 10e9, steps: float = 2 / 10e12, power: int = 3
) -> Answer:
    """Return an answer for the imagined device that starts from other numbers than the right."""

    def answer(n: int, machine: Limits) -> str:
        times = [(launch, "launch"), (sent * n * n, "transfer"), (steps * n**power, "arithmetic")]
        return max(times)[1]

    return answer


BOTTLENECK_MISTAKES: dict[str, Answer] = {
    "three matrices cross the link: the result has to come back.": _longest(sent=8 / 10e9),
    "the link is in bytes per second; a float32 has 4 of them.": _longest(sent=3 / 10e9),
    "each multiplication comes with an addition.": _longest(steps=1 / 10e12),
    "a product of n x n matrices takes 2 * n**3 operations, not n**2.": _longest(power=2),
    "machine.bandwidth is the device's own memory; use machine.link.": _longest(sent=12 / 1e12),
    "you left out machine.launch, which small products wait for.": _longest(launch=0.0),
    "you compared amounts, not times: divide by the rates.": _longest(sent=12.0, steps=2.0),
    "that is the shortest; the longest decides.": _longest(
        launch=-1e-5, sent=-12e-10, steps=-2e-13
    ),
    "you always say 'arithmetic'; try n = 4.": lambda n, machine: "arithmetic",
    "you always say 'transfer'; try n = 20000.": lambda n, machine: "transfer",
}

bottleneck = Exercise(
    name="bottleneck",
    question="Return 'launch', 'transfer' or 'arithmetic': what an n x n product waits for longest.",
    hints=(
        "Three times: machine.launch, bytes / machine.link, operations / machine.flops.",
        "Two matrices go to the device and one comes back: 3 * n * n numbers of 4 bytes.",
        "Put the three into a dict; max(times, key=times.get) returns the longest one's name.",
    ),
    praise="and now you know from which size on a device is worth the way to it.",
    reference=_reference_bottleneck,
    checks=lambda answer: _diagnosed(
        answer, BOTTLENECK_CASES, _reference_bottleneck, BOTTLENECK_MISTAKES
    ),
)
