"""Exercises of notebook 02: a fair timer, counted work, and what a product waits for."""

from collections.abc import Callable, Mapping, Sequence
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


def _many_readings(answer: Answer) -> str | None:
    alike, log = _time(answer, [BUSY] * 4, warmup=3)
    if (ran := log.count("run")) == 4:
        return "you never warm up: call fn() warmup times before you look at the clock."
    if ran != 7:
        return f"warmup=3 and repeats=4 make 7 calls of fn; yours made {ran}."
    around_all = (
        "you read the clock once around all repetitions, so launches hide. Read it for each."
    )
    sums = {4 * FAIR: "that is the sum; return the middle one.", LAUNCH / 4 + BUSY: around_all}
    result, _ = _time(answer, [0.4, 0.3, 0.2, 0.1, 9.0])
    meanings = {
        0.3 + LAUNCH: None,
        2.0 + LAUNCH: "that is the mean, moved by one interruption of 9 s. Return the median.",
        0.1 + LAUNCH: "that is the smallest. Return the median.",
        9.0 + LAUNCH: "that is the largest. Return the median.",
    }
    other = "of 0.4, 0.3, 0.2, 0.1 and 9 s the median is 0.3 s. Sort before you take the middle."
    return _meaning(alike, sums, None) or _meaning(result, meanings, other)


def _check_fair_seconds(answer: Answer) -> str | None:
    result, _ = _time(answer, queued=50.0)
    behind = "you counted 50 s of somebody else's work. Wait before the first reading, too."
    return _one_reading(answer) or (behind if result > 1 else _many_readings(answer))


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
    came = [answer(*case) for case in cases]
    for message, formula in [(None, right), *mistakes.items()]:
        if came == [formula(*case) for case in cases]:
            return message
    case, wrong = next(pair for pair in zip(cases, came, strict=True) if right(*pair[0]) != pair[1])
    shown = ", ".join(str(value) for value in case if isinstance(value, int))
    return f"for {shown} it is {right(*case)}, yours says {wrong}."


def _reference_mlp_flops(tokens: int, inputs: int, hidden: int, outputs: int) -> int:
    return 2 * tokens * inputs * hidden + 2 * tokens * hidden * outputs


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
PRODUCTS = [(n, IMAGINED) for n in (4, 50, 100, 1000, 2000, 5000, 8000, 20000)]


def _longest(
    launch: float = 1e-5, sent: float = 12 / 10e9, steps: float = 2 / 10e12, power: int = 3
) -> Answer:
    """Return an answer for the imagined device that starts from other numbers than the right."""
    return lambda n, machine: max(
        (launch, "launch"), (sent * n**2, "transfer"), (steps * n**power, "arithmetic")
    )[1]


WAITING_MISTAKES: dict[str, Answer] = {
    "three matrices cross the link: the result has to come back.": _longest(sent=8 / 10e9),
    "the link is in bytes per second; a float32 has 4 of them.": _longest(sent=3 / 10e9),
    "each multiplication comes with an addition.": _longest(steps=1 / 10e12),
    "a product of n x n matrices takes 2 * n**3 operations, not n**2.": _longest(power=2),
    "machine.bandwidth is the device's own memory; use machine.link.": _longest(sent=12 / 1e12),
    "you left out machine.launch, which small products wait for.": _longest(launch=0.0),
    "you compared amounts, not times: divide by the rates.": _longest(sent=12.0, steps=2.0),
    "that is the shortest; the longest decides.": _longest(-1e-5, -12e-10, -2e-13),
    "you always say 'arithmetic'; try n = 4.": lambda n, machine: "arithmetic",
    "you always say 'transfer'; try n = 20000.": lambda n, machine: "transfer",
}

bottleneck = Exercise(
    name="bottleneck",
    question="Return what an n x n product waits for: 'launch', 'transfer' or 'arithmetic'.",
    hints=(
        "Three times: machine.launch, bytes / machine.link, operations / machine.flops.",
        "Two matrices go to the device and one comes back: 3 * n * n numbers of 4 bytes.",
        "Put the three into a dict; max(times, key=times.get) returns the longest one's name.",
    ),
    praise="and now you know from which size on a device is worth the way to it.",
    reference=_reference_bottleneck,
    checks=lambda answer: _diagnosed(answer, PRODUCTS, _reference_bottleneck, WAITING_MISTAKES),
)
