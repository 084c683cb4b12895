"""Answers to the exercises of notebook 02, written from its cards alone."""

import statistics
import time

import numpy as np


def _times(fn, clock, repeats):
    seconds = []
    for _ in range(repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - start)
    return seconds


def fair_seconds__right__sync_once_before(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    clock.synchronize()
    seconds, before = [], clock.now()
    while len(seconds) < repeats:
        fn()
        clock.synchronize()
        after = clock.now()
        seconds.append(after - before)
        before = after
    return float(np.median(seconds))


def fair_seconds__right__helper(fn, clock, repeats, warmup):
    _times(fn, clock, warmup)
    return statistics.median(_times(fn, clock, repeats))


def fair_seconds__wrong__mean(fn, clock, repeats, warmup):
    _times(fn, clock, warmup)
    return statistics.mean(_times(fn, clock, repeats))


def fair_seconds__wrong__fastest(fn, clock, repeats, warmup):
    _times(fn, clock, warmup)
    return min(_times(fn, clock, repeats))


def fair_seconds__wrong__no_warmup(fn, clock, repeats, warmup):
    return statistics.median(_times(fn, clock, repeats))


def fair_seconds__wrong__no_wait_after(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        seconds.append(clock.now() - start)
    return statistics.median(seconds)


def fair_seconds__wrong__no_wait_before(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        start = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - start)
    return max(seconds)


def fair_seconds__wrong__own_clock(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        clock.synchronize()
        start = time.perf_counter()
        fn()
        clock.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def fair_seconds__wrong__all_together(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    clock.synchronize()
    start = clock.now()
    for _ in range(repeats):
        fn()
    clock.synchronize()
    return clock.now() - start


def fair_seconds__wrong__middle_not_sorted(fn, clock, repeats, warmup):
    _times(fn, clock, warmup)
    return _times(fn, clock, repeats)[repeats // 2]


def fair_seconds__wrong__one_repeat_more(fn, clock, repeats, warmup):
    _times(fn, clock, warmup)
    return statistics.median(_times(fn, clock, repeats + 1))


def mlp_flops__right__sum(tokens, inputs, hidden, outputs):
    return sum(2 * tokens * a * b for a, b in ((inputs, hidden), (hidden, outputs)))


def mlp_flops__right__factored(tokens, inputs, hidden, outputs):
    return 2 * tokens * hidden * (inputs + outputs)


def mlp_flops__wrong__no_two(tokens, inputs, hidden, outputs):
    return tokens * hidden * (inputs + outputs)


def mlp_flops__wrong__first_only(tokens, inputs, hidden, outputs):
    return 2 * tokens * inputs * hidden


def mlp_flops__wrong__weights(tokens, inputs, hidden, outputs):
    return 2 * hidden * (inputs + outputs)


def mlp_flops__wrong__multiplied(tokens, inputs, hidden, outputs):
    return 2 * tokens * inputs * hidden * hidden * outputs


def mlp_flops__wrong__four_times_wide(tokens, inputs, hidden, outputs):
    return 2 * tokens * 4 * inputs * (inputs + outputs)


def mlp_flops__wrong__outputs_are_inputs(tokens, inputs, hidden, outputs):
    return 4 * tokens * inputs * hidden


def mlp_flops__wrong__with_backward(tokens, inputs, hidden, outputs):
    return 6 * tokens * hidden * (inputs + outputs)


def bottleneck__right__table(n, machine):
    t = {
        "launch": machine.launch,
        "transfer": 12 * n**2 / machine.link,
        "arithmetic": 2 * n**3 / machine.flops,
    }
    return max(t, key=t.get)


def bottleneck__right__ifs(n, machine):
    travel, work = 3 * 4 * n * n / machine.link, 2 * n * n * n / machine.flops
    if work > travel and work > machine.launch:
        return "arithmetic"
    return "transfer" if travel > machine.launch else "launch"


def bottleneck__wrong__shortest(n, machine):
    t = {
        "launch": machine.launch,
        "transfer": 12 * n**2 / machine.link,
        "arithmetic": 2 * n**3 / machine.flops,
    }
    return min(t, key=t.get)


def bottleneck__wrong__n_squared_work(n, machine):
    t = {
        "launch": machine.launch,
        "transfer": 12 * n**2 / machine.link,
        "arithmetic": 2 * n**2 / machine.flops,
    }
    return max(t, key=t.get)


def bottleneck__wrong__no_launch(n, machine):
    return "transfer" if 12 * n**2 / machine.link > 2 * n**3 / machine.flops else "arithmetic"


def bottleneck__wrong__multiplied_by_speed(n, machine):
    t = {
        "launch": machine.launch,
        "transfer": 12 * n**2 * machine.link,
        "arithmetic": 2 * n**3 * machine.flops,
    }
    return max(t, key=t.get)


def bottleneck__wrong__seconds(n, machine):
    return max(machine.launch, 12 * n**2 / machine.link, 2 * n**3 / machine.flops)


def bottleneck__wrong__always_transfer(n, machine):
    return "transfer"


def bottleneck__wrong__elements_are_n(n, machine):
    t = {
        "launch": machine.launch,
        "transfer": 12 * n / machine.link,
        "arithmetic": 2 * n**3 / machine.flops,
    }
    return max(t, key=t.get)


def fair_seconds__wrong__second_set_upper_middle(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    s = []
    for _ in range(repeats):
        clock.synchronize()
        a = clock.now()
        fn()
        clock.synchronize()
        s.append(clock.now() - a)
    return sorted(s)[len(s) // 2]
