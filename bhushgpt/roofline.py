"""What a machine can do at most, and so how good a measured time is.

An operation does arithmetic (FLOPs) and moves numbers (bytes). A machine has a limit for each, and
the slower of the two decides: the roofline model (Williams, Waterman and Patterson, 2009,
https://doi.org/10.1145/1498765.1498785).

Lesson: notebook 02.
"""

from dataclasses import dataclass

import torch

from bhushgpt.errors import UserError
from bhushgpt.timing import Timing, measure

CPU_SIZES, GPU_SIZES = (256, 512, 1024, 2048), (2048, 4096, 8192)


def matmul_flops(m: int, k: int, n: int) -> int:
    """Return the multiplications and additions of an (m, k) by (k, n) matrix product.

    Each of the m * n results takes k multiplications and k additions (the first is to zero).

    Lesson: notebook 02.

    >>> matmul_flops(2, 3, 4)
    48
    """
    return 2 * m * k * n


def matmul_bytes(m: int, k: int, n: int, dtype: torch.dtype = torch.float32) -> int:
    """Return the bytes of both operands and of the result: the least that must be moved.

    Lesson: notebook 02.

    >>> matmul_bytes(2, 3, 4)  # (6 + 12 + 8) numbers of 4 bytes
    104
    """
    return (m * k + k * n + m * n) * dtype.itemsize


def intensity(flops: float, moved: float) -> float:
    """Return the arithmetic intensity: FLOPs for each byte that is moved.

    Lesson: notebook 02.

    >>> intensity(matmul_flops(600, 600, 600), matmul_bytes(600, 600, 600))
    100.0
    """
    return flops / moved


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a machine can do at most, for one dtype.

    Lesson: notebook 02.

    >>> machine = Limits(flops=100e9, bandwidth=10e9)
    >>> machine.ridge
    10.0
    >>> machine.seconds(matmul_flops(1000, 1000, 1000), matmul_bytes(1000, 1000, 1000))
    0.02
    """

    flops: float
    """FLOP/s of a large matrix product."""

    bandwidth: float
    """Bytes/s that the device reads and writes in its own memory."""

    launch: float = 0.0
    """Seconds that handing over one operation takes, however small it is."""

    link: float | None = None
    """Bytes/s from the computer's memory to the device's; None where they are the same memory."""

    @property
    def ridge(self) -> float:
        """The intensity, in FLOPs per byte, from which on arithmetic is the limit."""
        return self.flops / self.bandwidth

    def seconds(self, flops: float, moved: float, transferred: float = 0.0) -> float:
        """Return the predicted time of one operation.

        `moved` is what it reads and writes in the device's memory, `transferred` what has to come
        to the device first or go back afterwards, both in bytes.
        """
        # Arithmetic and the device's own memory work at the same time; the link comes before.
        transfer = transferred / self.link if self.link else 0.0
        return self.launch + transfer + max(flops / self.flops, moved / self.bandwidth)


def attainable(flops_per_byte: float, limits: Limits) -> float:
    """Return the FLOP/s that an operation of this intensity can reach at most.

    Lesson: notebook 02.

    >>> attainable(2.0, Limits(flops=100e9, bandwidth=10e9))
    20000000000.0
    """
    return min(limits.flops, flops_per_byte * limits.bandwidth)


def matmul_timing(
    m: int,
    k: int,
    n: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    repeats: int = 7,
) -> Timing:
    """Measure one (m, k) by (k, n) product of random numbers that are on the device already.

    Raises:
        UserError: If the device cannot multiply numbers of this dtype.

    Lesson: notebook 02.

    >>> len(matmul_timing(8, 8, 8, repeats=3).seconds)
    3
    """
    # A clock read around a product of microseconds measures the clock: many calls for each reading.
    calls = max(1, min(100, 10**8 // matmul_flops(m, k, n)))
    try:
        # A generator of its own: measuring must not change the random numbers of a training run.
        # Random numbers and not zeros: some GPUs multiply zeros faster.
        generator = torch.Generator(device).manual_seed(0)
        left = torch.randn(m, k, device=device, generator=generator).to(dtype)
        right = torch.randn(k, n, device=device, generator=generator).to(dtype)
        return measure(lambda: left @ right, device, repeats=repeats, calls=calls)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"The device {device} cannot multiply {m} x {k} by {k} x {n} in {dtype}: {error}. "
            "Try float32 and smaller matrices."
        ) from error


def matmul_limit(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    sizes: tuple[int, ...] | None = None,
    repeats: int = 7,
) -> float:
    """Return the FLOP/s of the fastest of some large square matrix products (None: usual sizes).

    The fastest repetition counts, not the median: other programs can only make a product slower.

    Raises:
        UserError: If the device cannot multiply numbers of this dtype.

    Lesson: notebook 02.

    >>> matmul_limit(sizes=(64,), repeats=3) > 0
    True
    """
    chosen = sizes or (CPU_SIZES if torch.device(device).type == "cpu" else GPU_SIZES)
    runs = {n: matmul_timing(n, n, n, device, dtype, repeats=repeats).seconds for n in chosen}
    return max(matmul_flops(n, n, n) / min(seconds) for n, seconds in runs.items())


def bandwidth_limit(device: torch.device | str = "cpu", *, n_bytes: int = 2**28) -> float:
    """Return the bytes/s, read plus written, of copying a tensor too big for the device's caches.

    Lesson: notebook 02.

    >>> bandwidth_limit(n_bytes=2**16) > 0
    True
    """
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.zeros_like(source)
    timing = measure(lambda: target.copy_(source), device, repeats=7)
    return 2 * source.nbytes / min(timing.seconds)


def launch_seconds(device: torch.device | str = "cpu") -> float:
    """Return what the smallest operation costs, one addition: handing it over.

    Lesson: notebook 02.
    """
    one = torch.ones(1, device=device)
    return measure(lambda: one + one, device, calls=1000).median


def transfer_rate(device: torch.device | str, *, pinned: bool = False) -> float | None:
    """Return the bytes/s from the computer's memory to the device's, or None for the CPU itself.

    `pinned` sends from memory that the operating system may not move (CUDA only).

    Lesson: notebook 02.
    """
    if torch.device(device).type == "cpu":
        return None
    source = torch.ones(2**24, pin_memory=pinned)  # 64 MiB
    timing = measure(lambda: source.to(device, non_blocking=pinned), device, repeats=7)
    return source.nbytes / timing.median
