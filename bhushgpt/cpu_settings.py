"""Settings of a process that make a CPU quicker.

Matrix products of float32 numbers by the quicker of two libraries (`fast_float32_products`). torch
multiplies float32 matrices with Intel's MKL, which takes a slow path on processors of other makers.
oneDNN, which torch multiplies bfloat16 matrices with, has a quick path there. It is reached by a
permission to round the operands to bfloat16. Where the processor has no unit that would use the
permission (Intel's AMX), oneDNN computes in true float32 all the same. Whether it does is not
guessed but checked, with a product whose result is known in double precision. Who made the
processor decides and no clock: the order of additions differs, and a run is to have the same digits
each time.

Memory that the C library keeps for the next operation (`keep_freed_memory`). On Linux, glibc asks
the operating system anew for every block of more than 32 MiB, and gives it back when the tensor
goes. Each time the system has to find and clear the pages one by one, which can take four times as
long as the arithmetic that fills them.

Lesson: notebook 02.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from bhushgpt.devices import abilities, describe_device

PERMISSION = "bf16"
ROUNDING = 4.0  # times the error of torch's own way: bfloat16 operands would give hundreds


def fast_float32_products(device: torch.device | str = "cpu") -> bool:
    """Let oneDNN multiply float32 matrices in this process, on AMD's processors if it is exact.

    The results differ from before in the last digit, since the additions have another order. It
    holds until the process ends. Products of a few rows, as in generation, are slower by it, so it
    is for training.

    Returns:
        Whether it was switched on: False on a GPU, on other processors, and where oneDNN would
        round to bfloat16.
    """
    settings = _settings()
    if not abilities(device).host or settings is None:
        return False
    before = settings.fp32_precision
    if before == PERMISSION:
        return True  # by an earlier call, or by the caller's own wish
    if "AMD" in describe_device("cpu").name and _is_exact(settings, before):
        settings.fp32_precision = PERMISSION
        return True
    return False


@contextmanager
def float32_products_as_shipped() -> Iterator[None]:
    """Inside the `with`, float32 matrices are multiplied as torch does without being told.

    >>> with float32_products_as_shipped():
    ...     torch.ones(1, 2) @ torch.ones(2, 1)
    tensor([[2.]])
    """
    settings = _settings()
    if settings is None:
        yield
        return
    before = settings.fp32_precision
    settings.fp32_precision = "none"
    try:
        yield
    finally:
        settings.fp32_precision = before


def _settings() -> Any:
    """Return torch's settings of oneDNN's matrix products, or None where it has none."""
    if not torch.backends.mkldnn.is_available():
        return None
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    return settings if hasattr(settings, "fp32_precision") else None


def _is_exact(settings: Any, before: str) -> bool:
    """Whether a product with the permission is as near to the true one as without it."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(384, 384, generator=generator) for _ in range(2))
    true = left.double() @ right.double()
    try:
        usual = (left @ right - true).abs().max()
        settings.fp32_precision = PERMISSION
        permitted = (left @ right - true).abs().max()
    finally:
        settings.fp32_precision = before
    return bool(permitted <= ROUNDING * usual)


# Measured on two cores: a step of training of 45 million operations is a sixth quicker with both,
# one of 165 million no quicker; writing is slower with both at every size. Beside a busy core both
# take five times as long, and one thread a tenth more.
LITTLE_WORK = 100e6


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Inside the `with`, torch computes on so many threads.

    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def threads_for(operations: float) -> Iterator[None]:
    """Inside the `with`, torch computes on one thread if there is little to do at a time.

    Args:
        operations: Floating-point operations of a step of training, or of a token that is written:
            about two a weight and token to compute a loss, and four more to learn from it.

    >>> before = torch.get_num_threads()
    >>> with threads_for(1e12):
    ...     torch.get_num_threads() == before
    True
    """
    with threads(1 if operations < LITTLE_WORK else torch.get_num_threads()):
        yield


# The numbers of two settings in glibc's malloc.h: https://man7.org/linux/man-pages/man3/mallopt.3.html
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 2**30  # bytes; a larger block still goes back at once
MOST_KEPT = 2**31 - 1  # bytes that may lie unused; the most that the setting can say


@cache
def keep_freed_memory(device: torch.device | str = "cpu") -> bool:
    """Let this process keep freed memory for its next tensors; return whether that was possible.

    It holds until the process ends and changes no result. It is for training, where every step
    asks for the same sizes: the process then needs up to a tenth more memory. Where large tensors
    of ever new sizes come and go, what is kept can fit none of them and grows. On a GPU, where
    torch keeps memory by itself, and outside Linux with glibc nothing happens.

    >>> keep_freed_memory() in (True, False)
    True
    """
    if not abilities(device).host or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)  # the C library that is loaded already
    # The first also ends glibc's own guessing of both, so both have to be set.
    set_ones = [
        library.mallopt(MMAP_THRESHOLD, LARGEST_KEPT),
        library.mallopt(TRIM_THRESHOLD, MOST_KEPT),
    ]
    return set_ones == [1, 1]
