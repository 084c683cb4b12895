"""Timing: exact on a fake clock, so that no test depends on how busy the machine is."""

import itertools

import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.timing import (
    DeviceClock,
    FakeDevice,
    Timing,
    alternate,
    format_seconds,
    measure,
    speedup,
)


class WatchedDevice(FakeDevice):
    """Remembers in which order it was asked."""

    def __init__(self, **settings: float) -> None:
        super().__init__(**settings)
        self.log: list[str] = []

    def now(self) -> float:
        self.log.append("now")
        return super().now()

    def synchronize(self) -> None:
        self.log.append("synchronize")
        super().synchronize()


def test_measure_counts_launch_and_work():
    device = FakeDevice(launch=0.5)
    timing = measure(lambda: device.run(10.0), clock=device, repeats=3)
    assert timing.seconds == (10.5, 10.5, 10.5)


def test_without_waiting_only_the_launch_is_measured():
    device = FakeDevice(launch=0.5)
    start = device.now()
    device.run(10.0)
    assert device.now() - start == 0.5
    device.synchronize()
    assert device.now() - start == 10.5


def test_measure_waits_before_and_after_each_reading():
    device = WatchedDevice()

    def run() -> None:
        device.log.append("run")
        device.run(1.0)

    measure(run, clock=device, repeats=2, warmup=1)
    reading = ["synchronize", "now", "run", "synchronize", "now"]
    assert device.log == ["run", *reading, *reading]


def test_measure_does_not_count_work_that_was_queued_before():
    device = FakeDevice(launch=0.5)
    device.run(1000.0)
    timing = measure(lambda: device.run(10.0), clock=device, repeats=2, warmup=0)
    assert timing.seconds == (10.5, 10.5)


def test_warmup_leaves_out_the_cold_start():
    device = FakeDevice(launch=0.5, cold=64.0)
    timing = measure(lambda: device.run(10.0), clock=device, repeats=2, warmup=1)
    assert timing.seconds == (10.5, 10.5)


def test_without_warmup_the_first_time_holds_the_cold_start():
    device = FakeDevice(launch=0.5, cold=64.0)
    timing = measure(lambda: device.run(10.0), clock=device, repeats=2, warmup=0)
    assert timing.seconds == (74.5, 10.5)


def test_several_calls_are_divided_and_hide_the_launches():
    device = FakeDevice(launch=0.5)
    timing = measure(lambda: device.run(10.0), clock=device, repeats=2, calls=4)
    assert timing.seconds == (40.5 / 4, 40.5 / 4)


def test_measure_calls_the_function_warmup_plus_repeats_times_calls():
    count = itertools.count()
    measure(lambda: next(count), repeats=3, warmup=2, calls=5)
    assert next(count) == 2 + 3 * 5


def test_alternate_takes_the_candidates_in_turn():
    order: list[str] = []
    candidates = {name: (lambda name=name: order.append(name)) for name in "AB"}
    alternate(candidates, repeats=3, warmup=1)
    assert order == ["A", "B"] + ["A", "B"] * 3


def test_drift_hits_alternating_candidates_alike():
    def drifting(device: FakeDevice):
        slower = itertools.count(start=100)  # each call finds the machine one second slower
        return lambda: device.run(float(next(slower)))

    device = FakeDevice(launch=0.0)
    same = drifting(device)
    in_turn = alternate({"A": same, "B": same}, clock=device, repeats=10, warmup=0)
    assert speedup(in_turn["A"], in_turn["B"]) == pytest.approx(1.0, abs=0.01)

    device = FakeDevice(launch=0.0)
    same = drifting(device)
    first = measure(same, clock=device, repeats=10, warmup=0)
    second = measure(same, clock=device, repeats=10, warmup=0)
    assert speedup(first, second) < 0.95  # the same function, and yet "slower"


def test_speedup_compares_neighbours():
    before, after = Timing((2.0, 4.0, 80.0)), Timing((1.0, 2.0, 40.0))
    assert speedup(before, after) == 2.0


def test_speedup_refuses_unequal_counts():
    with pytest.raises(UserError, match=r"3 and 2 repetitions.*one call of alternate"):
        speedup(Timing((1.0, 1.0, 1.0)), Timing((1.0, 1.0)))


def test_median_and_spread_are_the_middle_and_the_middle_half():
    timing = Timing((50.0, 10.0, 30.0, 20.0, 40.0))
    assert timing.median == 30.0
    assert timing.spread == pytest.approx((40.0 - 20.0) / 30.0)


def test_one_interruption_moves_neither_median_nor_spread():
    calm = Timing((10.0, 10.0, 11.0, 10.0, 10.0))
    interrupted = Timing((10.0, 10.0, 11.0, 10.0, 9000.0))
    assert interrupted.median == calm.median
    assert interrupted.spread < 0.2


def test_warning_appears_above_twenty_percent():
    assert Timing((9.0, 10.0, 11.0, 10.0, 10.0)).warning is None
    noisy = Timing((8.0, 8.0, 10.0, 12.0, 12.0)).warning
    assert noisy is not None
    assert "5 times differs by 40%" in noisy
    assert "Close other programs" in noisy


def test_a_clock_that_is_too_coarse_gives_no_error():
    assert Timing((0.0, 0.0)).spread == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeats": 1}, "repeats is 1, but a measurement needs at least 2"),
        ({"warmup": -1}, "warmup is -1, but a measurement needs at least 0"),
        ({"calls": 0}, "calls is 0, but a measurement needs at least 1"),
    ],
)
def test_settings_that_are_too_small_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        measure(lambda: None, **settings)


def test_no_candidates_are_refused():
    with pytest.raises(UserError, match="candidates is 0"):
        alternate({})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1234.0, "1230 s"),
        (1.5, "1.5 s"),
        (0.9999, "1 s"),
        (0.9994, "999 ms"),
        (0.012345, "12.3 ms"),
        (4.56e-6, "4.56 µs"),
        (123e-9, "123 ns"),
        (2e-12, "0.002 ns"),
        (0.0, "0 ns"),
    ],
)
def test_format_seconds_has_three_digits_and_a_unit(seconds, text):
    assert format_seconds(seconds) == text


def test_timing_reads_as_a_sentence():
    assert str(Timing((0.010, 0.010, 0.011, 0.010, 0.095))) == "10 ms (median of 5, spread 10 %)"


def test_the_real_clock_goes_forward():
    clock = DeviceClock(torch.device("cpu"))
    start = clock.now()
    clock.synchronize()
    assert sum(range(10_000)) == 49_995_000
    assert clock.now() > start


def test_the_device_waits_for_the_program_when_its_queue_is_empty():
    device = FakeDevice(launch=0.5)
    device.run(1.0)
    device.work(100.0)  # the queue ran dry long ago
    device.run(1.0)
    device.synchronize()
    assert device.now() == 0.5 + 100.0 + 0.5 + 1.0


def test_an_event_is_the_time_on_the_device():
    device = FakeDevice(launch=0.5)
    device.run(8.0)
    start = device.record()
    device.run(10.0)
    assert device.record() - start == 10.0
    assert device.now() == 1.0  # nobody waited
