"""The roofline: counted work, predicted times, and measurements that touch nothing."""

import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.roofline import (
    Limits,
    attainable,
    bandwidth_limit,
    intensity,
    launch_seconds,
    matmul_bytes,
    matmul_flops,
    matmul_limit,
    matmul_timing,
    transfer_rate,
)


def test_flops_equal_the_counted_steps_of_three_loops():
    m, k, n = 2, 3, 5
    left, right = torch.randn(m, k), torch.randn(k, n)
    result, steps = torch.zeros(m, n), 0
    for i in range(m):
        for j in range(n):
            for inner in range(k):
                result[i, j] += left[i, inner] * right[inner, j]
                steps += 2
    assert torch.allclose(result, left @ right, atol=1e-6)
    assert matmul_flops(m, k, n) == steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_bytes_equal_the_tensors_own(dtype):
    left, right = torch.zeros(7, 3, dtype=dtype), torch.zeros(3, 5, dtype=dtype)
    moved = left.nbytes + right.nbytes + (left @ right).nbytes
    assert matmul_bytes(7, 3, 5, dtype) == moved


def test_intensity_of_square_float32_products_is_a_sixth_of_the_rows():
    for n in (6, 60, 600):
        assert intensity(matmul_flops(n, n, n), matmul_bytes(n, n, n)) == pytest.approx(n / 6)


def test_attainable_is_the_lower_of_the_two_roofs():
    machine = Limits(flops=100.0, bandwidth=10.0)
    assert attainable(1.0, machine) == 10.0
    assert attainable(machine.ridge, machine) == machine.flops == 100.0
    assert attainable(1000.0, machine) == 100.0


def test_predicted_speed_equals_the_attainable_one():
    machine = Limits(flops=100.0, bandwidth=10.0)
    for flops, moved in [(8.0, 4.0), (500.0, 4.0)]:
        assert flops / machine.seconds(flops, moved) == attainable(flops / moved, machine)


def test_predicted_time_adds_launch_and_transfer():
    machine = Limits(flops=100.0, bandwidth=10.0, launch=3.0, link=2.0)
    assert machine.seconds(200.0, 5.0) == 3.0 + 2.0
    assert machine.seconds(200.0, 5.0, transferred=8.0) == 3.0 + 4.0 + 2.0


def test_without_a_link_nothing_is_transferred():
    assert Limits(flops=100.0, bandwidth=10.0).seconds(200.0, 5.0, transferred=8.0) == 2.0


def test_measured_limits_are_the_work_of_a_call_over_its_seconds(monkeypatch):
    """With a clock that says: the first call took 4 s, the others 2 s, and a thousand 3 s each."""
    from bhushgpt import roofline
    from bhushgpt.timing import Timing

    asked = []

    def measured(function, device="cpu", *, repeats=10, warmup=2, calls=1, clock=None):
        function()  # it can be called
        asked.append(calls)
        return Timing((4.0, 2.0, 2.0)) if calls == 1 else Timing((3.0, 3.0, 3.0))

    monkeypatch.setattr(roofline, "measure", measured)
    # A copy reads and writes each byte; the quickest try met the fewest other programs.
    assert bandwidth_limit(n_bytes=2**20) == 2 * 2**20 / 2.0
    assert launch_seconds() == 3.0 and asked == [1, 1000]
    monkeypatch.undo()
    assert matmul_limit(sizes=(64, 128), repeats=3) > 0 < bandwidth_limit(n_bytes=2**20)


def test_the_limit_is_the_fastest_repetition_of_the_best_size(monkeypatch):
    from bhushgpt import roofline
    from bhushgpt.timing import Timing

    seconds = {10: 1.0, 20: 2.0, 40: 1000.0}

    def slower_each_time(m, k, n, *settings, **more):
        return Timing((seconds[m], 2 * seconds[m], 3 * seconds[m]))

    monkeypatch.setattr(roofline, "matmul_timing", slower_each_time)
    assert matmul_limit(sizes=(10, 20, 40)) == matmul_flops(20, 20, 20) / 2.0


def test_the_cpu_has_no_link():
    assert transfer_rate("cpu") is None


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    matmul_timing(8, 8, 8, repeats=2)
    bandwidth_limit(n_bytes=2**12)
    assert torch.equal(torch.rand(3), expected)


def test_a_dtype_that_cannot_be_multiplied_is_named():
    with pytest.raises(UserError, match=r"cpu cannot multiply 4 x 4 .* torch.bool: .* Try float32"):
        matmul_timing(4, 4, 4, "cpu", torch.bool)
