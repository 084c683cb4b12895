"""How long an operation takes, measured so that the number can be believed.

Every measurement warms up, waits for the device before and after, repeats, and says how far the
repetitions differ. A timer asks two things of a clock: the time, and a wait for the device. One
clock is real (`DeviceClock`), one made up (`FakeDevice`), so that every machine can show what a
timer gets wrong on a GPU.

Lesson: notebook 02.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Protocol

import torch

from bhushgpt.devices import synchronize
from bhushgpt.errors import UserError


class Clock(Protocol):
    """What a timer asks of a clock; `DeviceClock` is a real one, `FakeDevice` a made-up one."""

    def now(self) -> float:
        """Return the time in seconds; only differences mean anything."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has finished all that it was given."""
        ...


@dataclass(frozen=True)
class DeviceClock:
    """The computer's own stopwatch, and the wait for a real device."""

    device: torch.device

    def now(self) -> float:
        """Return the seconds of `time.perf_counter`, the finest clock that Python has."""
        return time.perf_counter()

    def synchronize(self) -> None:
        """Wait for the device; on the CPU there is nothing to wait for."""
        synchronize(self.device)


class FakeDevice:
    """A device that queues work as a GPU does, with a clock that only it moves.

    It computes nothing. With it every machine can show what a timer gets wrong on a GPU, and
    always with the same numbers.

    Args:
        launch: Seconds that the program is busy handing over one operation.
        cold: Extra seconds of the very first operation, in which a real device loads its code.

    >>> device = FakeDevice(launch=1.0)
    >>> device.run(100.0)
    >>> device.now()  # the program goes on at once
    1.0
    >>> device.synchronize()
    >>> device.now()
    101.0
    """

    def __init__(self, *, launch: float = 1e-5, cold: float = 0.0) -> None:
        self.launch = launch
        self.cold = cold
        self.time = 0.0  # where the program is
        self.free_at = 0.0  # when the device will have emptied its queue

    def now(self) -> float:
        """Return the program's time in seconds."""
        return self.time

    def run(self, seconds: float) -> None:
        """Queue an operation that will keep the device busy for so long."""
        self.time += self.launch
        self.free_at = max(self.free_at, self.time) + self.cold + seconds
        self.cold = 0.0

    def work(self, seconds: float) -> None:
        """Let the program itself compute for so long, as it does on the CPU."""
        self.time += seconds

    def record(self) -> float:
        """Return when the device will reach this point of its queue, as a CUDA event does."""
        return max(self.free_at, self.time)

    def synchronize(self) -> None:
        """Let the program wait until the queue is empty."""
        self.time = max(self.time, self.free_at)


NOISY = 0.20  # a spread above this says that something else used the machine

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def format_seconds(seconds: float) -> str:
    """Return a duration with three digits and the unit that suits it.

    >>> format_seconds(0.00123), format_seconds(90.0), format_seconds(0.0)
    ('1.23 ms', '90 s', '0 ns')
    """
    # Rounded first, or 0.9999 s would become "1e+03 ms".
    rounded = float(f"{seconds:.3g}")
    size, unit = next((u for u in UNITS if rounded >= u[0]), UNITS[-1])
    value = rounded / size
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


@dataclass(frozen=True)
class Timing:
    """The seconds of each repetition, and what can be said about them.

    >>> timing = Timing((0.010, 0.010, 0.011, 0.010, 0.095))
    >>> timing.median
    0.01
    >>> print(timing)
    10 ms (median of 5, spread 10 %)
    """

    seconds: tuple[float, ...]
    """One number for each repetition, in the order in which they were measured."""

    @property
    def median(self) -> float:
        """The middle one of the sorted seconds: one interruption does not move it."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """The width of the middle half of the seconds, as a share of the median."""
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        # A coarse clock may read the same twice; then all that is known is "too short".
        return (high - low) / self.median if self.median else 0.0

    @property
    def warning(self) -> str | None:
        """What to do about a spread above 20 %, or None where the number is good."""
        if self.spread <= NOISY:
            return None
        return (
            f"The middle half of the {len(self.seconds)} times differs by {self.spread:.0%}, more "
            f"than {NOISY:.0%}: something else used the machine, or the operation is too short. "
            "Close other programs, or measure more repeats, or more calls in each."
        )

    def __str__(self) -> str:
        count, spread = len(self.seconds), f"{self.spread * 100:.0f} %"
        return f"{format_seconds(self.median)} (median of {count}, spread {spread})"


def measure(
    fn: Callable[[], object],
    device: torch.device | str = "cpu",
    *,
    repeats: int = 10,
    warmup: int = 2,
    calls: int = 1,
    clock: Clock | None = None,
) -> Timing:
    """Return how long one call of `fn` takes on the device.

    Args:
        fn: Does the work; its operands exist already, so that making them is not counted.
        device: The device that does the work, and that is waited for.
        repeats: How many times to read the clock, at least 2.
        warmup: Calls before the first reading.
        calls: Calls between two readings; more than 1 for operations of microseconds. The seconds
            are divided by it.
        clock: Another clock than the device's, for tests and lessons.

    Raises:
        UserError: If `repeats`, `warmup` or `calls` is too small.

    >>> from bhushgpt.timing import FakeDevice
    >>> device = FakeDevice(launch=0.5, cold=60.0)
    >>> measure(lambda: device.run(1.0), clock=device, repeats=3)
    Timing(seconds=(1.5, 1.5, 1.5))
    """
    timings = alternate(
        {"fn": fn}, device, repeats=repeats, warmup=warmup, calls=calls, clock=clock
    )
    return timings["fn"]


def alternate(
    candidates: Mapping[str, Callable[[], object]],
    device: torch.device | str = "cpu",
    *,
    repeats: int = 10,
    warmup: int = 2,
    calls: int = 1,
    clock: Clock | None = None,
) -> dict[str, Timing]:
    """Return the timing of each candidate, measured in turn: A B A B, not A A B B.

    A machine gets hot or busy while one measures. In turn this meets all candidates alike, and
    `speedup` compares neighbours only. The arguments are those of `measure`.

    Raises:
        UserError: If there is no candidate, or `repeats`, `warmup` or `calls` is too small.

    >>> from bhushgpt.timing import FakeDevice
    >>> device = FakeDevice(launch=0.0)
    >>> work = {"slow": lambda: device.run(3.0), "fast": lambda: device.run(1.0)}
    >>> times = alternate(work, clock=device, repeats=2)
    >>> speedup(times["slow"], times["fast"])
    3.0
    """
    _refuse_below(1, candidates=len(candidates), calls=calls)
    _refuse_below(2, repeats=repeats)
    _refuse_below(0, warmup=warmup)
    clock = clock or DeviceClock(torch.device(device))
    for fn in candidates.values():
        for _ in range(warmup):
            fn()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, fn in candidates.items():
            seconds[name].append(_seconds(fn, calls, clock))
    return {name: Timing(tuple(taken)) for name, taken in seconds.items()}


def speedup(before: Timing, after: Timing) -> float:
    """Return how many times faster `after` is: the median over the pairs of an alternating run.

    Raises:
        UserError: If the two were not measured equally often.
    """
    if len(before.seconds) != len(after.seconds):
        raise UserError(
            f"There are {len(before.seconds)} and {len(after.seconds)} repetitions, which cannot "
            "be paired. Measure both in one call of alternate(...)."
        )
    return median(b / a for b, a in zip(before.seconds, after.seconds, strict=True))


def _seconds(fn: Callable[[], object], calls: int, clock: Clock) -> float:
    clock.synchronize()  # earlier work, not ours, must not be counted
    start = clock.now()
    for _ in range(calls):
        fn()
    clock.synchronize()  # done, not only handed over
    return (clock.now() - start) / calls


def _refuse_below(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise UserError(f"{name} is {value}, but a measurement needs at least {least}.")
