"""Memory that the C library keeps for the next operation, instead of giving it back.

On Linux, glibc asks the operating system anew for every block of more than 32 MiB, and gives it
back when the tensor goes. Each time the system has to find and clear the pages one by one, which
can take four times as long as the arithmetic that fills them.

Lesson: notebook 02.
"""

import ctypes
import platform
from functools import cache

import torch

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

    Lesson: notebook 02.

    >>> keep_freed_memory() in (True, False)
    True
    """
    if torch.device(device).type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)  # the C library that is loaded already
    # The first also ends glibc's own guessing of both, so both have to be set.
    set_ones = [
        library.mallopt(MMAP_THRESHOLD, LARGEST_KEPT),
        library.mallopt(TRIM_THRESHOLD, MOST_KEPT),
    ]
    return set_ones == [1, 1]
