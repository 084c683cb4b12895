"""What a doctor looks at first: Python, its libraries, the processor and the graphics card.

Lesson: notebook 16.
"""

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from importlib import metadata

import psutil
import torch

from bhushgpt.compilation import compile_trouble
from bhushgpt.devices import describe_device
from bhushgpt.findings import Finding, gigabytes
from bhushgpt.full_memory import free_memory
from bhushgpt.self_check import self_check
from bhushgpt.versions import python_trouble, torch_trouble

SETUP = "python tools/install.py"
BUSY = 1.5  # running programs for each core
LEAST_MEMORY = 2 * 10**9  # a notebook, torch and a small model


def check_python() -> Finding:
    """Return whether this Python is new enough, and runs in an environment of its own.

    Lesson: notebook 16.
    """
    if trouble := python_trouble():
        return Finding("broken", "python", trouble)
    about = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.prefix == sys.base_prefix:
        return Finding(
            "look",
            "python",
            f"{about}; not in an environment of its own, so other programs may change its "
            "libraries. In the course's folder there is one, .venv.",
            SETUP,
        )
    return Finding("OK", "python", about)


def check_torch() -> Finding:
    """Return whether this PyTorch is new enough, and what it was built for.

    Lesson: notebook 16.
    """
    if trouble := torch_trouble(torch.__version__):
        return Finding("broken", "torch", trouble, 'pip install "torch>=2.10"')
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    built = f"built for ROCm {torch.version.hip}" if torch.version.hip else built
    return Finding("OK", "torch", f"{torch.__version__}, {built}")


def check_libraries() -> Finding:
    """Return whether every library that the package asks for is there and new enough.

    Lesson: notebook 16.
    """
    try:
        wanted = metadata.requires("bhushgpt") or []
    except metadata.PackageNotFoundError:
        return Finding("look", "libraries", "bhushgpt is used without being installed.", SETUP)
    wrong = []
    for line in (line for line in wanted if "extra ==" not in line):
        name, least = re.match(r"([\w.-]+)[^;]*?(?:>=([\d.]+))?(?:[,;]|$)", line).groups()  # type: ignore[union-attr]
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is not installed")
            continue
        if least and _numbers(there) < _numbers(least):
            wrong.append(f"{name} is {there}, {least} or newer is needed")
    if wrong:
        return Finding("broken", "libraries", "; ".join(wrong) + ".", SETUP)
    packages = ("bhushgpt", "numpy", "safetensors")
    return Finding("OK", "libraries", ", ".join(f"{n} {metadata.version(n)}" for n in packages))


def check_processor() -> Finding:
    """Return the processor, its threads, and whether something else keeps it busy.

    Lesson: notebook 16.
    """
    card = describe_device("cpu")
    about = f"{card.name}, {card.cores} cores, {card.threads} threads; {', '.join(card.dtypes)}"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY * card.cores:
        text = f"{about}. It is busy: {load:.0f} programs want to run. Times will be too long."
        return Finding("look", "processor", text)
    return Finding("OK", "processor", about)


def check_memory() -> Finding:
    """Return the main memory and what of it is free.

    Lesson: notebook 16.
    """
    there, free = describe_device("cpu").memory_bytes, free_memory("cpu")
    about = f"{gigabytes(there)}, free {gigabytes(free)}, swap {_swap()}"
    if free < LEAST_MEMORY:
        more = f"{about}. Close other programs: torch and a small model take about 1 GB."
        return Finding("look", "memory", more)
    return Finding("OK", "memory", about)


def check_card() -> Finding:
    """Return whether there is a graphics card that torch can use, and what keeps it from that.

    Lesson: notebook 16.
    """
    if torch.cuda.is_available():
        card = describe_device("cuda")
        try:
            torch.ones(1, device="cuda").add(1)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            text = f"{card.name} cannot compute with this PyTorch ({reason}). Until then: cpu."
            return Finding("broken", "card", text, "python -m bhushgpt info")
        return Finding(
            "OK", "card", f"{card.name}, {gigabytes(card.memory_bytes)}, {', '.join(card.dtypes)}"
        )
    if torch.backends.mps.is_available():
        return Finding("OK", "card", f"{describe_device('mps').name}")
    if shutil.which("nvidia-smi") is None:
        return Finding("OK", "card", "none that torch can use; the course runs on the processor")
    if torch.version.cuda is None:
        why = "this PyTorch was built without CUDA. Notebook 00 shows how to install the other one."
    else:
        why = f"its driver is too old for CUDA {torch.version.cuda}, or does not run. Update it."
    return Finding("look", "card", f"there is an NVIDIA card, but {why}", "nvidia-smi")


def check_results(check: Callable[[str], str | None] = self_check) -> Finding:
    """Return whether the graphics card computes what the processor computes.

    Lesson: notebook 16.
    """
    kinds = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    for kind, there in kinds.items():
        if there():
            if trouble := check(kind):
                return Finding("broken", "results", trouble)
            return Finding("OK", "results", f"a small model on {kind} gives what the CPU gives")
    return Finding("OK", "results", "nothing to compare: the processor is the only device")


def check_compiler(trouble: Callable[[str], str | None] = compile_trouble) -> Finding:
    """Return whether torch.compile works, by compiling one line.

    Lesson: notebook 16.
    """
    if sentence := trouble("cuda" if torch.cuda.is_available() else "cpu"):
        return Finding("look", "compiler", sentence)
    return Finding("OK", "compiler", "torch.compile works")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def _swap() -> str:
    try:
        return gigabytes(psutil.swap_memory().total)
    except (OSError, RuntimeError):  # some containers hide it
        return "unknown"
