"""What a timer needs of a clock: the time, and a wait for the device. One is real, one made up.

Lesson: notebook 02.
"""

import time
from dataclasses import dataclass
from typing import Protocol

import torch

from bhushgpt.devices import synchronize


class Clock(Protocol):
    """What a timer asks of a clock; `DeviceClock` is a real one, `FakeDevice` a made-up one.

    Lesson: notebook 02.
    """

    def now(self) -> float:
        """Return the time in seconds; only differences mean anything."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has finished all that it was given."""
        ...


@dataclass(frozen=True)
class DeviceClock:
    """The computer's own stopwatch, and the wait for a real device.

    Lesson: notebook 02.
    """

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

    Lesson: notebook 02.

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
