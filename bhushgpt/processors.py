"""What the operating system knows of the processor: its name, cores, memory and abilities.

Lesson: notebook 00.
"""

import os
import platform
import subprocess
from pathlib import Path

import psutil
import torch

CPU_FILE = Path("/proc/cpuinfo")
# Where Linux writes the memory that a container may use: cgroup version 2, then version 1.
LIMIT_FILES = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def cpu_name() -> str:
    """Return the processor's name as its maker writes it, or its family if nothing else is known.

    Lesson: notebook 00.
    """
    names = {"Linux": _name_on_linux, "Darwin": _name_on_mac}
    found = names.get(platform.system(), platform.processor)()
    return " ".join(found.split()) or platform.machine() or "unknown"


def usable_cores() -> int:
    """Return how many logical cores this process may use, which may be fewer than there are.

    Lesson: notebook 00.

    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int:
    """Return the bytes of main memory, or the container's limit where that is smaller.

    Lesson: notebook 00.

    >>> usable_memory() > 2**28
    True
    """
    limits = [psutil.virtual_memory().total]
    for file in LIMIT_FILES:
        text = file.read_text().strip() if file.is_file() else ""
        if text.isdecimal():  # "max" means no limit
            limits.append(int(text))
    return min(limits)


def cpu_dtypes() -> tuple[str, ...]:
    """Return the floating-point types that this processor has instructions for.

    PyTorch accepts bfloat16 on every CPU; without these instructions it is slower than float32.

    Lesson: notebook 00.

    >>> cpu_dtypes()[:2]
    ('float64', 'float32')
    """
    able = _abilities()
    half = ("float16",) if able & {"avx512_fp16", "amx_fp16", "fp16_arith"} else ()
    brain = ("bfloat16",) if able & {"avx512_bf16", "amx_bf16", "bf16"} else ()
    return ("float64", "float32", *half, *brain)


def _name_on_linux() -> str:
    text = CPU_FILE.read_text() if CPU_FILE.is_file() else ""
    # ARM processors have no such line.
    lines = [line for line in text.splitlines() if line.startswith("model name")]
    return lines[0].partition(":")[2] if lines else ""


def _name_on_mac() -> str:
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _abilities() -> set[str]:
    """Return the names of the processor's instruction sets, as far as this PyTorch tells."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return {name for name, there in tell().items() if there is True}
    # Older versions answer these questions one by one, by names that may go.
    asked = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}
    return {name for name, ask in asked.items() if getattr(torch.cpu, ask, lambda: False)()}
