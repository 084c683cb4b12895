"""What a doctor looks at around the program: Jupyter, the disk, the cache, the book, settings.

Lesson: notebook 16.
"""

import importlib
import importlib.util
import json
import os
import sys
from importlib import metadata
from pathlib import Path

from bhushgpt.disk_space import free_bytes
from bhushgpt.errors import UserError
from bhushgpt.files import sha256
from bhushgpt.findings import Finding, gigabytes, without_names
from bhushgpt.folders import cache_folder, runs_folder
from bhushgpt.registry import corpora

SETUP = "python tools/install.py"
BOOK = "sherlock"
LITTLE_ROOM, NO_ROOM = 2 * 10**9, 10**8


def check_kernel() -> Finding:
    """Return whether Jupyter is there and its kernel python3 starts this very Python.

    Lesson: notebook 16.
    """
    missing = [
        name for name in ("jupyterlab", "ipykernel") if importlib.util.find_spec(name) is None
    ]
    if missing:
        text = f"{' and '.join(missing)} not installed: commands work, notebooks do not open."
        return Finding("look", "jupyter", text, "pip install jupyterlab ipykernel")
    # By name: Jupyter is the notebooks' library, not one of the package's own.
    kernels = importlib.import_module("jupyter_client.kernelspec")
    try:
        starts = kernels.KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (kernels.NoSuchKernel, OSError, ValueError, IndexError):
        text = "there is no kernel named python3, which the notebooks ask for."
        return Finding("broken", "jupyter", text, "python -m ipykernel install --sys-prefix")
    if Path(starts).name != starts and not _same_python(starts):
        text = "its kernel python3 starts another Python, which may lack the course's libraries."
        return Finding("look", "jupyter", text, "python -m ipykernel install --sys-prefix")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jupyterlab", "ipykernel"))
    return Finding("OK", "jupyter", f"{versions}, kernel python3")


def _same_python(starts: str) -> bool:
    try:
        return Path(starts).resolve() == Path(sys.executable).resolve()
    except OSError:
        return False


def check_disk() -> Finding:
    """Return the room on the disk that runs are written to, tried by writing.

    Lesson: notebook 16.
    """
    try:
        folder = runs_folder()
        probe = folder / f".doctor.{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except (OSError, UserError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        text = f"the folder for runs cannot be written: {without_names(reason)}. "
        return Finding("broken", "disk", f"{text}Set BHUSHGPT_RUNS to a folder that can.")
    free = free_bytes(folder)
    if free < NO_ROOM:
        return Finding("broken", "disk", f"{gigabytes(free)} free where runs go: make room.")
    if free < LITTLE_ROOM:
        return Finding("look", "disk", f"{gigabytes(free)} free where runs go: little for a run.")
    return Finding("OK", "disk", f"{gigabytes(free)} free where runs go")


def check_cache() -> Finding:
    """Return what the cache of downloaded texts holds.

    Lesson: notebook 16.
    """
    try:
        folder = cache_folder()
        files = sorted(path for path in folder.iterdir() if path.is_file())
        size = sum(path.stat().st_size for path in files)
    except (OSError, UserError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        text = f"the cache cannot be used: {without_names(reason)}. "
        return Finding("broken", "cache", f"{text}Set BHUSHGPT_CACHE to a folder that can.")
    held = [path.stem for path in files if path.stem in corpora()]
    return Finding("OK", "cache", f"{gigabytes(size)}; texts: {', '.join(held) or 'none yet'}")


def check_book(name: str = BOOK) -> Finding:
    """Return whether the course's book is here, to the letter, without asking the network.

    Lesson: notebook 16.
    """
    entry = corpora()[name]
    own = os.environ.get("BHUSHGPT_DATA")
    folders = [Path(own).expanduser()] if own else []
    damaged = False
    for folder in [*folders, cache_folder()]:
        file = folder / f"{name}.txt"
        if not file.is_file():
            continue
        if sha256(file.read_bytes()) == entry.sha256:
            return Finding(
                "OK", "book", f"{entry.title}, {entry.characters:,} characters, as it was"
            )
        damaged = True
    fetch = f"python -m bhushgpt corpora --fetch {name}"
    if damaged:
        return Finding("look", "book", f"{name}.txt is not the text it should be.", fetch)
    text = f"{entry.title} is not here yet; it is fetched when it is first used."
    return Finding("look", "book", text, fetch)


def check_archives() -> Finding:
    """Return which of the optional readers of archives are there.

    Lesson: notebook 16.
    """
    readers = {"pylzma": ".7z", "pyarrow": ".parquet"}
    missing = [f"{kind} ({name})" for name, kind in readers.items() if not _there(name)]
    if missing:
        return Finding("OK", "archives", f"all but {', '.join(missing)}, which are optional")
    return Finding("OK", "archives", f"all kinds, {', '.join(readers.values())} too")


def check_settings() -> Finding:
    """Return which settings of the environment are in force, by name: a value may hold a name.

    Lesson: notebook 16.
    """
    names = sorted(name for name in os.environ if name.startswith(("BHUSHGPT_", "OMP_NUM_THREADS")))
    scale = os.environ.get("BHUSHGPT_SCALE", "")
    if scale not in ("", "smoke", "laptop", "gpu"):
        text = f"BHUSHGPT_SCALE is {json.dumps(scale)}; there are smoke, laptop and gpu."
        return Finding("broken", "settings", text)
    return Finding("OK", "settings", f"set: {', '.join(names)}" if names else "none set")


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
