"""Answers to the exercises of notebook 02, written from its cards alone."""

import itertools
import statistics
import time

import numpy as np

from bhushgpt.roofline import matmul_flops


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


# The third set.


def fair_seconds__right__waits_before_and_after(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - start)
    return statistics.median(seconds)


def fair_seconds__right__recursive_sorted_by_hand(fn, clock, repeats, warmup):
    if warmup > 0:
        fn()
        return fair_seconds__right__recursive_sorted_by_hand(fn, clock, repeats, warmup - 1)
    clock.synchronize()  # the queue is empty from here on after each call
    seconds = []
    while len(seconds) < repeats:
        begin = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - begin)
    seconds.sort()
    low, high = seconds[(repeats - 1) // 2], seconds[repeats // 2]
    return (low + high) / 2


# repeats = 1 with old work in the queue: that work is counted; right is to wait before start, too.
def fair_seconds__wrong__waits_only_after(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        start = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - start)
    return statistics.median(seconds)


# Times 1, 1, 1, 9 (one interruption): mean 3; right is the median 1.
def fair_seconds__wrong__third_mean(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    total = 0.0
    for _ in range(repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        clock.synchronize()
        total += clock.now() - start
    return total / repeats


def fair_seconds__wrong__warmup_measured_too(fn, clock, repeats, warmup):
    seconds = []
    for _ in range(warmup + repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - start)
    return statistics.median(seconds)


# repeats = 2, times 1 and 3: the upper one, 3; the median of an even number is 2, between the two.
def fair_seconds__wrong__upper_of_two(fn, clock, repeats, warmup):
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        clock.synchronize()
        start = clock.now()
        fn()
        clock.synchronize()
        seconds.append(clock.now() - start)
    return sorted(seconds)[len(seconds) // 2]


def mlp_flops__right__two_products(tokens, inputs, hidden, outputs):
    sizes = [inputs, hidden, outputs]
    pairs = itertools.pairwise(sizes)
    return sum(matmul_flops(tokens, a, b) for a, b in pairs)


# (1, 1, 1, 1): 2; right is 4, a multiplication and an addition for each weight.
def mlp_flops__wrong__only_multiplications(tokens, inputs, hidden, outputs):
    return tokens * inputs * hidden + tokens * hidden * outputs


# (3, 2, 4, 2): the tokens count in the first product only; right counts them in both.
def mlp_flops__wrong__tokens_once(tokens, inputs, hidden, outputs):
    return 2 * tokens * inputs * hidden + 2 * hidden * outputs


# (1, 2, 2, 2): biases added, 20; right is 16, both products only.
def mlp_flops__wrong__biases_too(tokens, inputs, hidden, outputs):
    first = 2 * tokens * inputs * hidden + tokens * hidden
    return first + 2 * tokens * hidden * outputs + tokens * outputs


# (1, 2, 2, 2): k - 1 additions counted, 12; right is 2 * m * k * n as in the lesson, 16.
def mlp_flops__wrong__one_addition_less(tokens, inputs, hidden, outputs):
    first = tokens * hidden * (2 * inputs - 1)
    return first + tokens * outputs * (2 * hidden - 1)


def bottleneck__right__largest_of_a_dict(n, machine):
    seconds = {
        "launch": machine.launch,
        "transfer": 3 * n * n * 4 / machine.link if machine.link else 0.0,
        "arithmetic": 2 * n**3 / machine.flops,
    }
    return max(seconds, key=seconds.get)


def bottleneck__right__compared_by_hand(n, machine):
    link = machine.link if machine.link is not None else float("inf")
    moved = sum(4 for _matrix in ("left", "right", "product")) * n**2
    there_and_back = moved / link
    works = matmul_flops(n, n, n) / machine.flops
    if machine.launch >= there_and_back and machine.launch >= works:
        return "launch"
    return "transfer" if there_and_back >= works else "arithmetic"


def bottleneck__wrong__result_stays(n, machine):
    link = machine.link or float("inf")
    times = [
        (machine.launch, "launch"),
        (2 * 4 * n * n / link, "transfer"),
        (2 * n**3 / machine.flops, "arithmetic"),
    ]
    return max(times)[1]


def bottleneck__wrong__numbers_not_bytes(n, machine):
    link = machine.link or float("inf")
    times = [
        (machine.launch, "launch"),
        (3 * n * n / link, "transfer"),
        (2 * n**3 / machine.flops, "arithmetic"),
    ]
    return max(times)[1]


def bottleneck__wrong__only_multiplications(n, machine):
    link = machine.link or float("inf")
    times = [
        (machine.launch, "launch"),
        (3 * 4 * n * n / link, "transfer"),
        (n**3 / machine.flops, "arithmetic"),
    ]
    return max(times)[1]


def bottleneck__wrong__one_matrix(n, machine):
    link = machine.link or float("inf")
    transfer, work = 4 * n * n / link, 2 * n**3 / machine.flops
    if machine.launch > max(transfer, work):
        return "launch"
    return "transfer" if transfer > work else "arithmetic"
