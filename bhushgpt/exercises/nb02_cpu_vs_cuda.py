"""Exercises of notebook 02: a fair timer, counted work, and what a product waits for."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from bhushgpt.clocks import Clock, FakeDevice
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.roofline import Limits
from bhushgpt.timing import format_seconds

LAUNCH, BUSY = 0.001, 0.1  # seconds of the fake device's operation: handing over, computing
FAIR = LAUNCH + BUSY


class _Watched(FakeDevice):
    """A fake device that remembers what it was asked, as "now", "run" and "synchronize"."""

    def __init__(self) -> None:
        super().__init__(launch=LAUNCH)
        self.log: list[str] = []

    def now(self) -> float:
        self.log.append("now")
        return super().now()

    def synchronize(self) -> None:
        self.log.append("synchronize")
        super().synchronize()

    def run(self, seconds: float) -> None:
        self.log.append("run")
        super().run(seconds)


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


def _time(
    answer: Callable[..., Any],
    durations: Sequence[float] = (BUSY,),
    *,
    warmup: int = 0,
    queued: float = 0.0,
) -> tuple[float, list[str]]:
    """Let the answer time the durations, one a repetition, and return its result and the log."""
    device = _Watched()
    if queued:
        FakeDevice.run(device, queued)
    coming = iter([BUSY] * warmup + list(durations))
    repeats = len(durations)
    result = answer(lambda: device.run(next(coming, BUSY)), device, repeats, warmup)
    return float(result), device.log


def _near(value: float, expected: float) -> bool:
    return abs(value - expected) < 1e-6


def _one_reading(answer: Callable[..., Any]) -> str | None:
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


def _check_fair_seconds(answer: Callable[..., Any]) -> str | None:
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


def _many_readings(answer: Callable[..., Any]) -> str | None:
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
    answer: Callable[..., Any],
    cases: Sequence[tuple],
    right: Callable[..., Any],
    mistakes: Mapping[str, Callable[..., Any]],
) -> str | None:
    """Run all cases, and name the mistake that gives exactly these answers."""
    came = [answer(*case) for case in cases]
    expected = [right(*case) for case in cases]
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


MLP_MISTAKES: dict[str, Callable[..., Any]] = {
    "that is half: each multiplication comes with an addition.": (
        lambda t, i, h, o: t * i * h + t * h * o
    ),
    "that is the first layer alone; the second one maps hidden to outputs.": (
        lambda t, i, h, o: 2 * t * i * h
    ),
    "that is the second layer alone; the first one maps inputs to hidden.": (
        lambda t, i, h, o: 2 * t * h * o
    ),
    "that is the work of one token; every token goes through the layers.": (
        lambda t, i, h, o: 2 * (i * h + h * o)
    ),
    "that is the number of weights. Each is used once for every token, in two operations.": (
        lambda t, i, h, o: i * h + h * o
    ),
    "that is a whole training step; the forward pass alone is a third of it.": (
        lambda t, i, h, o: 6 * t * (i * h + h * o)
    ),
    "you multiplied the two layers' work; they run one after the other, so add.": (
        lambda t, i, h, o: 4 * t * i * h * t * h * o
    ),
    "that is one layer straight from inputs to outputs; the hidden numbers lie between.": (
        lambda t, i, h, o: 2 * t * i * o
    ),
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
    checks=lambda answer: _diagnosed(
        answer, [(7, 3, 5, 2), (2, 11, 13, 17)], _reference_mlp_flops, MLP_MISTAKES
    ),
)


def _longest(launch: float, transfer: float, arithmetic: float) -> str:
    times = {"launch": launch, "transfer": transfer, "arithmetic": arithmetic}
    return max(times, key=lambda name: times[name])


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
SIZES = (4, 50, 100, 1000, 2000, 5000, 8000, 20000)

BOTTLENECK_MISTAKES: dict[str, Callable[..., Any]] = {
    "the result has to come back: three matrices cross the link, not two.": (
        lambda n, m: _longest(m.launch, 8 * n * n / m.link, 2 * n**3 / m.flops)
    ),
    "the link is in bytes per second, and a float32 number has 4 bytes.": (
        lambda n, m: _longest(m.launch, 3 * n * n / m.link, 2 * n**3 / m.flops)
    ),
    "each of the n * n * n multiplications comes with an addition.": (
        lambda n, m: _longest(m.launch, 12 * n * n / m.link, n**3 / m.flops)
    ),
    "a product of n x n matrices takes 2 * n**3 operations, not 2 * n**2.": (
        lambda n, m: _longest(m.launch, 12 * n * n / m.link, 2 * n * n / m.flops)
    ),
    "the matrices come over machine.link; machine.bandwidth is the device's own memory.": (
        lambda n, m: _longest(m.launch, 12 * n * n / m.bandwidth, 2 * n**3 / m.flops)
    ),
    "you left out machine.launch, which small products wait for.": (
        lambda n, m: _longest(0.0, 12 * n * n / m.link, 2 * n**3 / m.flops)
    ),
    "you compared amounts, not times: divide each by its rate.": (
        lambda n, m: _longest(m.launch, 12 * n * n, 2 * n**3)
    ),
    "that is the shortest of the three; the longest one decides.": (
        lambda n, m: _longest(-m.launch, -12 * n * n / m.link, -2 * n**3 / m.flops)
    ),
    "you always say 'arithmetic'; a small product waits for something else.": (
        lambda n, m: "arithmetic"
    ),
    "you always say 'transfer'; the work grows faster than the matrices.": (
        lambda n, m: "transfer"
    ),
}

bottleneck = Exercise(
    name="bottleneck",
    question=(
        "Return 'launch', 'transfer' or 'arithmetic': what an n x n float32 product waits for "
        "longest when operands and result live in the computer's memory."
    ),
    hints=(
        "Three times: machine.launch, bytes / machine.link, operations / machine.flops.",
        "Two matrices go to the device and one comes back: 3 * n * n numbers of 4 bytes.",
        "Put the three into a dict; max(times, key=times.get) returns the longest one's name.",
    ),
    praise="and now you know from which size on a device is worth the way to it.",
    reference=_reference_bottleneck,
    checks=lambda answer: _diagnosed(
        answer, [(n, IMAGINED) for n in SIZES], _reference_bottleneck, BOTTLENECK_MISTAKES
    ),
)
