"""Which machine computes: choosing a device, waiting for it, describing it.

A device is a processor or a graphics card. Its kind (cpu, cuda, mps) is a name of PyTorch's; what
follows from it is asked here (`abilities`, `describe_device`, `free_memory`), so that other files
ask what a device can do instead of comparing names.

Lesson: notebook 00.
"""

import datetime
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy
import psutil
import torch

from bhushgpt.environment import memory_size
from bhushgpt.errors import UserError, nearest

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None

Kind = Literal["cpu", "cuda", "mps"]
KINDS: tuple[Kind, ...] = ("cuda", "mps", "cpu")  # the faster first

NOT_SEEN: dict[str, str] = {
    "cuda": (
        "this PyTorch sees no NVIDIA card. Use the device 'cpu', or install the CUDA build of "
        "PyTorch as notebook 00 shows."
    ),
    "mps": "this is no Mac with an Apple chip, or its PyTorch is too old. Use the device 'cpu'.",
}


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a kind of device can do, and how it wants to be treated."""

    host: bool = False
    """It is the computer's own processor: its memory is the computer's, its libraries are oneDNN
    and MKL, and small work keeps it busy."""
    trusted: bool = True
    """It computes what the CPU computes, so that nobody has to compare before a run."""
    compiles: bool = False
    """torch.compile pays for every model, also for a large one."""
    wide: bool = False
    """It takes tens of thousands of tokens in a step to keep it busy."""
    small_types: bool = False
    """Every number type of half the size that it has is faster, so that nobody has to measure."""
    one_pass: bool = False
    """torch has optimizers for it that go over all weights in one pass."""
    pinned: bool = False
    """It fetches what lies in pinned memory while it computes."""
    records: bool = False
    """A row of its operations can be recorded once and replayed: CUDA graphs."""
    own_random: bool = False
    """It draws random numbers with a generator of its own, beside the CPU's."""
    together: str | None = None
    """The library by which several processes compute with it, if there is one."""


ABILITIES: dict[str, Abilities] = {
    "cpu": Abilities(host=True, one_pass=True, together="gloo"),
    "cuda": Abilities(
        compiles=True,
        wide=True,
        small_types=True,
        one_pass=True,
        pinned=True,
        records=True,
        own_random=True,
        together="nccl",
    ),
    # Early versions of PyTorch computed something else there.
    "mps": Abilities(trusted=False, own_random=True),
}


def abilities(device: torch.device | str) -> Abilities:
    """Return what is known of a device's kind; of an unknown kind, nothing in particular.

    >>> abilities("cpu").host, abilities("cuda:1").host
    (True, False)
    """
    return ABILITIES.get(torch.device(device).type, Abilities())


@dataclass(frozen=True, kw_only=True)
class DeviceCard:
    """What one needs to know about a device to judge a time measured on it."""

    name: str
    """The chip as its maker calls it."""
    kind: Kind
    """How PyTorch addresses it."""
    cores: int
    """CPU cores this process may use, or the multiprocessors of a GPU; 0 if unknown."""
    threads: int
    """CPU threads that PyTorch computes with."""
    memory_bytes: int
    """Memory of the device; on a Mac's GPU, what it may take of the shared memory."""
    dtypes: tuple[str, ...]
    """Floating-point types that the hardware itself computes with, not by way of another type."""
    python: str
    torch: str
    numpy: str

    @property
    def bfloat16(self) -> bool:
        """Whether bfloat16 makes this device faster, instead of only being accepted."""
        return "bfloat16" in self.dtypes

    def __str__(self) -> str:
        where = f"{self.cores} cores" if self.cores else "cores unknown"
        return (
            f"{self.name} ({self.kind}, {where}, {memory_size(self.memory_bytes)}; "
            f"{', '.join(self.dtypes)}; torch {self.torch}, threads: {self.threads})"
        )


def pick_device(name: str = "auto") -> torch.device:
    """Return the device to compute on: by name, or the fastest kind there is.

    Args:
        name: "auto" (CUDA before MPS before CPU), "cpu", "cuda", "mps", or one card as "cuda:1".

    Raises:
        UserError: If there is no such device here, or the word is none of these.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device(best_kind())
    kind, _, number = name.partition(":")
    if kind not in KINDS or (":" in name and not number.isdecimal()):
        raise UserError(f"There is no device {name!r}. {nearest(name, ['auto', *KINDS])}")
    if trouble := device_trouble(kind):
        raise UserError(f"The device {name!r} is not available: {trouble}")
    there = torch.cuda.device_count() if kind == "cuda" else 1
    if number and int(number) >= there:
        raise UserError(
            f"The device {name!r} does not exist. The last one is '{kind}:{there - 1}'."
        )
    return torch.device(name)


def best_kind() -> Kind:
    """Return the fastest kind of device that computes here."""
    return next(kind for kind in KINDS if device_trouble(kind) is None)


def device_trouble(kind: str) -> str | None:
    """Return why a kind of device cannot be used here, or None."""
    seen = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if kind in seen and not seen[kind]():
        return NOT_SEEN[kind]
    try:
        # A card that is too old for this build is seen, but fails at the first operation.
        torch.ones(1, device=kind).add(1)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        return f"PyTorch sees it but cannot compute on it ({reason}). Use the device 'cpu'."
    return None


def synchronize(device: torch.device | str) -> None:
    """Wait until the device has finished all work given to it.

    A GPU takes work and lets Python go on; a clock read before this call measures nothing. The
    CPU has always finished.

    >>> synchronize("cpu")
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe_device(device: torch.device | str = "cpu") -> DeviceCard:
    """Return what is known about a device.

    >>> describe_device("cpu").dtypes[:2]
    ('float64', 'float32')
    """
    device = torch.device(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, cores = properties.name, properties.multi_processor_count
        memory = properties.total_memory
    elif device.type == "mps":
        name, cores = f"{cpu_name()} GPU", 0
        memory = torch.mps.recommended_max_memory()
    else:
        name, cores, memory = cpu_name(), usable_cores(), usable_memory()
    return DeviceCard(
        name=name,
        kind=cast(Kind, device.type),
        cores=cores,
        threads=torch.get_num_threads(),
        memory_bytes=memory,
        dtypes=_native_dtypes(device),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=numpy.__version__,
    )


def free_memory(device: torch.device | str = "cpu") -> int:
    """Return the bytes that a run could still take on a device.

    On an NVIDIA card what torch keeps for later, without using it, counts as free.

    >>> 0 < free_memory("cpu") <= describe_device("cpu").memory_bytes
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return max(0, describe_device(device).memory_bytes - torch.mps.driver_allocated_memory())
    room = min(psutil.virtual_memory().available, usable_memory())
    if resource is not None:
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:  # `ulimit -v`, and many a cluster's queue
            room = min(room, limit - psutil.Process().memory_info().vms)
    return max(0, room)


def process_memory(device: torch.device | str) -> int:
    """Return the bytes that this process holds now of the memory that a device computes in.

    0 for a card, whose memory Python and torch do not lie in.

    >>> process_memory("cpu") > 2**20
    True
    """
    return int(psutil.Process().memory_info().rss) if abilities(device).host else 0


def random_state(device: torch.device | str) -> torch.Tensor | None:
    """Return the state of a device's own generator; None where the CPU's draws its numbers.

    >>> random_state("cpu") is None
    True
    """
    device = torch.device(device)
    if not abilities(device).own_random:
        return None
    part = torch.get_device_module(device)
    return part.get_rng_state(device) if device.type == "cuda" else part.get_rng_state()


def restore_random(device: torch.device | str, state: torch.Tensor | None) -> None:
    """Put a device's own generator where it stood; None changes nothing."""
    device = torch.device(device)
    if state is None or not abilities(device).own_random:
        return
    part = torch.get_device_module(device)
    if device.type == "cuda":
        part.set_rng_state(state.cpu(), device)
    else:
        part.set_rng_state(state.cpu())


def seed_random(device: torch.device | str, number: int) -> None:
    """Seed a device's own generator, and no other; not the CPU's.

    `torch.manual_seed` reaches every device, also those that nobody will put back.
    """
    device = torch.device(device)
    if not abilities(device).own_random:
        return
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
    else:
        torch.get_device_module(device).manual_seed(number)


def peak_memory(device: torch.device | str) -> int | None:
    """Return the most bytes that this process has held on a card; None where it has no own memory.

    >>> peak_memory("cpu") is None
    True
    """
    device = torch.device(device)
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def has_tf32(device: torch.device | str) -> bool:
    """Return whether a card can multiply float32 numbers rounded to 10 bits, which is quicker.

    >>> has_tf32("cpu")
    False
    """
    device = torch.device(device)
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def machine_card(date: str | None = None) -> dict[str, Any]:
    """Return a description of this machine to store beside a measurement, ready for JSON.

    It names no person, host or folder.

    Args:
        date: ISO date of the measurement; today if left out.

    Returns:
        The date, the system, `cores` and `memory_bytes` of the computer, and under `devices` the
        name, kind, memory and native types of the CPU and of the GPU, if there is one.

    >>> card = machine_card(date="2025-01-31")
    >>> card["date"], card["devices"][0]["kind"]
    ('2025-01-31', 'cpu')
    """
    cards = [describe_device(kind) for kind in reversed(KINDS) if device_trouble(kind) is None]
    return {
        "date": date or datetime.date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cards[0].cores,
        "memory_bytes": cards[0].memory_bytes,
        "devices": [
            {"name": c.name, "kind": c.kind, "memory_bytes": c.memory_bytes, "dtypes": [*c.dtypes]}
            for c in cards
        ],
        "python": cards[0].python,
        "torch": cards[0].torch,
        "numpy": cards[0].numpy,
    }


def _native_dtypes(device: torch.device) -> tuple[str, ...]:
    if device.type == "mps":
        # No float64; bfloat16 from the M2 on, of which earlier ones make float32.
        return ("float32", "float16", *(() if " M1" in cpu_name() else ("bfloat16",)))
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        # https://docs.nvidia.com/cuda/cuda-c-programming-guide/#arithmetic-instructions
        half = ("float16",) if (major, minor) >= (7, 0) else ()
        brain = ("bfloat16",) if torch.version.hip or major >= 8 else ()
        return ("float64", "float32", *half, *brain)
    return cpu_dtypes()


# What the operating system knows of the processor.

CPU_FILE = Path("/proc/cpuinfo")
# Where Linux writes the memory that a container may use: cgroup version 2, then version 1.
LIMIT_FILES = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def cpu_name() -> str:
    """Return the processor's name as its maker writes it, or its family if no more is known."""
    names = {"Linux": _name_on_linux, "Darwin": _name_on_mac}
    found = names.get(platform.system(), platform.processor)()
    return " ".join(found.split()) or platform.machine() or "unknown"


def usable_cores() -> int:
    """Return how many logical cores this process may use, which may be fewer than there are.

    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int:
    """Return the bytes of main memory, or the container's limit where that is smaller.

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
