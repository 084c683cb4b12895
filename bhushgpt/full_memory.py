"""How much memory is free, and full memory put into words.

Lesson: notebook 11.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from bhushgpt.devices import describe_device
from bhushgpt.errors import UserError
from bhushgpt.forecast import training_memory
from bhushgpt.memory_advice import SPARE, memory_advice
from bhushgpt.presets import RunConfig

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None


def free_memory(device: torch.device | str = "cpu") -> int:
    """Return the bytes that a run could still take on a device, its own share included.

    Lesson: notebook 11.

    >>> 0 < free_memory("cpu") <= describe_device("cpu").memory_bytes
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return max(0, describe_device(device).memory_bytes - torch.mps.driver_allocated_memory())
    room = min(psutil.virtual_memory().available, describe_device("cpu").memory_bytes)
    if resource is not None:
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:  # `ulimit -v`, and many a cluster's queue
            room = min(room, limit - psutil.Process().memory_info().vms)
    return max(0, room)


def is_memory_error(error: BaseException) -> bool:
    """Return whether an error says that the memory is full, on whatever device.

    Lesson: notebook 11.

    >>> is_memory_error(MemoryError()), is_memory_error(ValueError("no"))
    (True, False)
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # On the CPU it is a plain RuntimeError with the allocator's name in it.
    words = ("DefaultCPUAllocator", "MPS backend out of memory", "CUDA out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextmanager
def memory_explained(config: RunConfig, device: torch.device | str) -> Iterator[None]:
    """Turn full memory inside the `with` into the table of knobs.

    What is free is measured on entering: when the memory is full, the failed step still holds it.

    Raises:
        UserError: With `memory_advice`, if the memory is full.

    Lesson: notebook 11.
    """
    there = free_memory(device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        # The formula may say that it fits; it did not, so the advice starts below what failed.
        room = min(there, round(training_memory(config) / (1 + SPARE)))
        where = torch.device(device).type
        raise UserError(f"The memory is full. {memory_advice(config, room, where)}") from error
