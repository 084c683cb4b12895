"""What a doctor looks at, apart from runs: Python, libraries, devices, and the place around them.

Each check returns one `Finding`. They look without changing anything and without a network, so a
doctor can print them one by one. `self_check` compares a device with the CPU: Apple's GPUs, above
all, did not always compute what the CPU computes.

Lesson: notebook 17.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from packaging.requirements import Requirement

from bhushgpt.diagnosis.findings import Finding, gigabytes, without_names
from bhushgpt.environment import (
    SCALES,
    cache_folder,
    command,
    memory_size,
    named_folder,
    python_command,
    runs_folder,
)
from bhushgpt.errors import UserError
from bhushgpt.files import free_bytes, sha256
from bhushgpt.sources import corpora
from bhushgpt.versions import course_python, install_command, missing_torch, python_trouble

if TYPE_CHECKING:  # here and below: where torch does not load, the doctor has to say so
    import torch
    from torch import Tensor

    from bhushgpt.gpt import GPT

    Computation = Callable[[GPT, Tensor, torch.device], dict[str, Tensor]]

BUSY = 1.5  # running programs for each core
LEAST_MEMORY = 2 * 10**9  # a notebook, torch and a small model
LITTLE_ROOM, NO_ROOM = 2 * 10**9, 10**8
BOOK = "sherlock"
KERNEL = ("-m", "ipykernel", "install", "--sys-prefix")
# In float32 the order of additions moves the seventh digit; this is a thousand times more.
TOLERANCE = 1e-3


def check_python() -> Finding:
    """Return whether this Python is new enough, can open https, and is the course's own."""
    if trouble := python_trouble():
        return Finding("broken", "python", trouble)
    about = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if not _there("_ssl"):
        text = (
            f"{about}; built without SSL, so nothing can be fetched from the network. Install one "
            "with it, from https://www.python.org/downloads/, or copy the texts by hand."
        )
        return Finding("look", "python", text)
    if sys.prefix == sys.base_prefix:
        own = course_python()
        text = f"{about}; not in an environment of its own, so other programs may change its "
        text += "libraries. The course's own is .venv." if own else "libraries."
        return Finding("look", "python", text, f"{own} -m bhushgpt" if own else install_command())
    return Finding("OK", "python", about)


def check_torch() -> Finding:
    """Return whether this PyTorch loads and is new enough, and what it was built for."""
    if trouble := missing_torch():
        return Finding("broken", "torch", trouble)
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    built = f"built for ROCm {torch.version.hip}" if torch.version.hip else built
    return Finding("OK", "torch", f"{torch.__version__}, {built}")


def check_libraries() -> Finding:
    """Return whether every library that the package asks for is there and new enough."""
    try:
        wanted = metadata.requires("bhushgpt") or []
    except metadata.PackageNotFoundError:
        return Finding(
            "look", "libraries", "bhushgpt is used without being installed.", install_command()
        )
    wrong = []
    for asked in map(Requirement, wanted):
        if asked.marker and not asked.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(asked.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{asked.name} is not installed")
            continue
        # A newer one than was tried may well do.
        least = [one for one in asked.specifier if one.operator == ">="]
        wrong += [
            f"{asked.name} is {there}, {one.version} or newer is needed"
            for one in least
            if not one.contains(there, prereleases=True)
        ]
    if wrong:
        names = [reason.split()[0] for reason in wrong]
        return Finding("broken", "libraries", "; ".join(wrong) + ".", install_command(*names))
    packages = ("bhushgpt", "numpy", "safetensors")
    return Finding("OK", "libraries", ", ".join(f"{n} {metadata.version(n)}" for n in packages))


def check_processor() -> Finding:
    """Return the processor, its threads, and whether something else keeps it busy."""
    from bhushgpt.devices import describe_device

    card = describe_device("cpu")
    about = f"{card.name}, {card.cores} cores, {card.threads} threads; {', '.join(card.dtypes)}"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY * card.cores:
        text = f"{about}. It is busy: {load:.0f} programs want to run. Times will be too long."
        return Finding("look", "processor", text)
    return Finding("OK", "processor", about)


def check_free_memory() -> Finding:
    """Return the main memory and what of it is free."""
    from bhushgpt.devices import free_memory, usable_memory

    there, free = usable_memory(), free_memory("cpu")
    about = f"{memory_size(there)}, free {memory_size(free)}, swap {_swap()}"
    if free < LEAST_MEMORY:
        more = f"{about}. Close other programs: torch and a small model take about 1 GiB."
        return Finding("look", "memory", more)
    return Finding("OK", "memory", about)


def _swap() -> str:
    try:
        return memory_size(psutil.swap_memory().total)
    except (OSError, RuntimeError):  # some containers hide it
        return "unknown"


def check_card() -> Finding:
    """Return whether there is a graphics card that torch can use, and what keeps it from that."""
    import torch

    from bhushgpt.devices import NOT_SEEN, best_kind, describe_device, device_trouble

    if (kind := best_kind()) != "cpu":
        card = describe_device(kind)
        about = f"{card.name}, {memory_size(card.memory_bytes)}, {', '.join(card.dtypes)}"
        return Finding("OK", "card", about)
    for kind, nowhere in NOT_SEEN.items():
        if (trouble := device_trouble(kind)) != nowhere:
            text = f"{kind}: {trouble}"
            return Finding("broken", "card", text, command("info"))
    if shutil.which("nvidia-smi") is None:
        return Finding("OK", "card", "none that torch can use; the course runs on the processor")
    if torch.version.cuda is None:
        why = "this PyTorch was built without CUDA. Notebook 00 shows how to install the other one."
    else:
        why = f"its driver is too old for CUDA {torch.version.cuda}, or does not run. Update it."
    return Finding("look", "card", f"there is an NVIDIA card, but {why}", "nvidia-smi")


def check_results(check: Callable[[str], str | None] | None = None) -> Finding:
    """Return whether the graphics card computes what the processor computes."""
    from bhushgpt.devices import best_kind

    if (kind := best_kind()) == "cpu":
        return Finding("OK", "results", "nothing to compare: the processor is the only device")
    if trouble := (check or self_check)(kind):
        return Finding("broken", "results", trouble)
    return Finding("OK", "results", f"a small model on {kind} gives what the CPU gives")


def check_compiler(trouble: Callable[[str], str | None] | None = None) -> Finding:
    """Return whether torch.compile works, by compiling one line."""
    from bhushgpt.devices import best_kind
    from bhushgpt.speed import compile_trouble

    if sentence := (trouble or compile_trouble)(best_kind()):
        return Finding("look", "compiler", sentence)
    return Finding("OK", "compiler", "torch.compile works")


def self_check(device: torch.device | str, compute: Computation | None = None) -> str | None:
    """Compute a small GPT's scores, loss and gradients on a device and on the CPU.

    Args:
        device: What to check.
        compute: Computes them, given the model, the ids and the device; left out, the real thing.

    Returns:
        None if they agree, else a sentence that says what differs and what to do.

    >>> self_check("cpu") is None
    True
    """
    import torch

    from bhushgpt.gpt import GPT, GPTConfig

    device = torch.device(device)
    compute = compute or _computed
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = GPT(GPTConfig(vocab_size=17, context_length=16, n_layer=2, n_head=2, n_embd=32))
        ids = torch.randint(17, (4, 16))
    right = _computed(model, ids, torch.device("cpu"))
    try:
        found = compute(model, ids, device)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        return f"The device {device} fails at a small model ({reason}). Use --device cpu."
    for name, values in right.items():
        if not found[name].isfinite().all():
            return (
                f"The device {device} gives NaN or infinity for {name}, where the CPU gives "
                "numbers. Update PyTorch and the system, or use --device cpu."
            )
        largest = (found[name] - values).abs().max().item()
        if largest > TOLERANCE:
            return (
                f"The device {device} differs from the CPU by {largest:.2g} for {name}; up to "
                f"{TOLERANCE:g} is rounding. Update PyTorch and the system, or use --device cpu."
            )
    return None


def _computed(model: GPT, ids: Tensor, device: torch.device) -> dict[str, Tensor]:
    """Return what a training step computes, all of it back on the CPU."""
    from bhushgpt.training import batch_loss

    model, ids = model.to(device), ids.to(device)
    model.zero_grad(set_to_none=True)
    loss = batch_loss(model, ids, ids.roll(-1, dims=1))
    loss.backward()
    found = {"the loss": loss, "the scores": model(ids)}
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            found[f"the gradient of {name}"] = weight.grad
    return {name: value.detach().float().cpu().clone() for name, value in found.items()}


def device_notices(device: torch.device | str) -> list[str]:
    """Return what to say before a run on a device whose results are not to be trusted unseen.

    >>> device_notices("cpu")
    []
    """
    from bhushgpt.devices import abilities

    if abilities(device).trusted:
        return []
    trouble = self_check(device)
    return [trouble] if trouble else []


def check_kernel() -> Finding:
    """Return whether Jupyter is there and its kernel python3 starts this very Python."""
    missing = [
        name for name in ("jupyterlab", "ipykernel") if importlib.util.find_spec(name) is None
    ]
    if missing:
        text = f"{' and '.join(missing)} not installed: commands work, notebooks do not open."
        return Finding("look", "jupyter", text, python_command("-m", "pip", "install", *missing))
    # By name: Jupyter is the notebooks' library, not one of the package's own.
    kernels = importlib.import_module("jupyter_client.kernelspec")
    try:
        starts = kernels.KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (kernels.NoSuchKernel, OSError, ValueError, IndexError):
        text = "there is no kernel named python3, which the notebooks ask for."
        return Finding("broken", "jupyter", text, python_command(*KERNEL))
    except RuntimeError:  # Jupyter asks for a home, where a container's user may have none
        text = "no home folder is known, and Jupyter needs one: set the variable HOME to a folder."
        return Finding("look", "jupyter", text)
    if Path(starts).name != starts and not _same_python(starts):
        text = "its kernel python3 starts another Python, which may lack the course's libraries."
        return Finding("look", "jupyter", text, python_command(*KERNEL))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jupyterlab", "ipykernel"))
    return Finding("OK", "jupyter", f"{versions}, kernel python3")


def _same_python(starts: str) -> bool:
    try:
        return Path(starts).resolve() == Path(sys.executable).resolve()
    except OSError:
        return False


def check_free_disk() -> Finding:
    """Return the room on the disk that runs are written to, tried by writing."""
    try:
        folder = runs_folder()
        probe = folder / f".doctor.{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except UserError as error:
        return Finding("broken", "disk", without_names(str(error)))
    except OSError as error:
        text = f"the folder for runs cannot be written: {error.strerror or error}. "
        return Finding("broken", "disk", f"{text}Set BHUSHGPT_RUNS to a folder that can.")
    free = free_bytes(folder)
    if free < NO_ROOM:
        return Finding("broken", "disk", f"{gigabytes(free)} free where runs go: make room.")
    if free < LITTLE_ROOM:
        return Finding("look", "disk", f"{gigabytes(free)} free where runs go: little for a run.")
    return Finding("OK", "disk", f"{gigabytes(free)} free where runs go")


def check_cache() -> Finding:
    """Return what the cache of downloaded texts holds."""
    try:
        folder = cache_folder()
        files = sorted(path for path in folder.iterdir() if path.is_file())
        size = sum(path.stat().st_size for path in files)
    except UserError as error:
        return Finding("broken", "cache", without_names(str(error)))
    except OSError as error:
        text = f"the cache cannot be used: {error.strerror or error}. "
        return Finding("broken", "cache", f"{text}Set BHUSHGPT_CACHE to a folder that can.")
    held = [path.stem for path in files if path.stem in corpora()]
    return Finding("OK", "cache", f"{gigabytes(size)}; texts: {', '.join(held) or 'none yet'}")


def check_book(name: str = BOOK) -> Finding:
    """Return whether the course's book is here, to the letter, without asking the network."""
    entry = corpora()[name]
    damaged, folders = False, [named_folder("BHUSHGPT_DATA")]
    with contextlib.suppress(UserError):  # `check_cache` says what is wrong with it
        folders.append(cache_folder())
    for folder in filter(None, folders):
        file = folder / f"{name}.txt"
        if not file.is_file():
            continue
        if sha256(file.read_bytes()) == entry.sha256:
            return Finding(
                "OK", "book", f"{entry.title}, {entry.characters:,} characters, as it was"
            )
        damaged = True
    fetch = command("corpora", "--fetch", name)
    if damaged:
        return Finding("look", "book", f"{name}.txt is not the text it should be.", fetch)
    text = f"{entry.title} is not here yet; it is fetched when it is first used."
    return Finding("look", "book", text, fetch)


def check_archives() -> Finding:
    """Return which of the optional readers of archives are there."""
    readers = {"pylzma": ".7z", "pyarrow": ".parquet"}
    missing = [f"{kind} ({name})" for name, kind in readers.items() if not _there(name)]
    if missing:
        return Finding("OK", "archives", f"all but {', '.join(missing)}, which are optional")
    return Finding("OK", "archives", f"all kinds, {', '.join(readers.values())} too")


def check_settings() -> Finding:
    """Return which settings of the environment are in force, by name: a value may hold a name."""
    names = sorted(name for name in os.environ if name.startswith(("BHUSHGPT_", "OMP_NUM_THREADS")))
    scale = os.environ.get("BHUSHGPT_SCALE", "")
    if scale not in ("", *SCALES):
        text = f"BHUSHGPT_SCALE is {json.dumps(scale)}; there are smoke, laptop and gpu."
        return Finding("broken", "settings", text)
    if (own := named_folder("BHUSHGPT_DATA")) is not None and not own.is_dir():
        text = "BHUSHGPT_DATA names a folder that is not there, so no text is taken from it."
        return Finding("look", "settings", text)
    return Finding("OK", "settings", f"set: {', '.join(names)}" if names else "none set")


def check_names() -> Finding:
    """Return whether a file in the current folder hides one of Python's or the libraries' own."""
    try:
        wanted = metadata.requires("bhushgpt") or []
    except metadata.PackageNotFoundError:
        wanted = []
    taken = {*sys.stdlib_module_names, *(Requirement(line).name for line in wanted)}
    hiding = sorted(file.name for file in Path.cwd().glob("*.py") if file.stem in taken)
    if hiding:
        text = (
            f"{', '.join(hiding)} in this folder has the name of a module of Python or of a "
            "library; notebooks and scripts here load it instead. Rename it."
        )
        return Finding("look", "names", text)
    return Finding("OK", "names", "no file here hides a library")


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
