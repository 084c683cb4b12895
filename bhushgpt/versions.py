"""The oldest Python and PyTorch that the course runs on, and the sentence for an older one.

This file and `__main__.py` are written so that an old Python can read them as far as that sentence.

Lesson: notebook 00.
"""

from __future__ import annotations

import os
import sys

OLDEST_PYTHON = (3, 11)
# Below 2.10 a file of weights could run code although only weights were asked for.
OLDEST_TORCH = (2, 10)


def python_trouble(version: tuple = sys.version_info) -> str | None:
    """Return why this Python cannot be used, or None.

    >>> python_trouble((3, 9, 6))
    'BhushGPT needs Python 3.11 or newer, and this is Python 3.9: install one from \
https://www.python.org/downloads/, then set the course up again with it.'
    >>> python_trouble((3, 12, 0)) is None
    True
    """
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return None
    needed, found = ".".join(map(str, OLDEST_PYTHON)), ".".join(map(str, version[:2]))
    return (
        f"BhushGPT needs Python {needed} or newer, and this is Python {found}: install one from "
        "https://www.python.org/downloads/, then set the course up again with it."
    )


def torch_trouble(version: str) -> str | None:
    """Return why this PyTorch cannot be used, or None.

    >>> torch_trouble("2.9.1+cpu")[:65]
    'BhushGPT needs PyTorch 2.10 or newer, and this is 2.9.1+cpu: type'
    >>> torch_trouble("2.13.0a0+git1234") is None
    True
    """
    numbers = []
    for part in version.split("+")[0].split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    if tuple(numbers) >= OLDEST_TORCH:
        return None
    needed = ".".join(map(str, OLDEST_TORCH))
    return (
        f"BhushGPT needs PyTorch {needed} or newer, and this is {version}: "
        f'type {_typed(sys.executable)} -m pip install "torch>={needed}"'
    )


def missing_torch() -> str | None:
    """Return why PyTorch cannot be used here: not installed, too old, or not loading; or None."""
    from importlib import metadata

    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return f"PyTorch is not installed for this Python. {set_up('torch')}"
    trouble = torch_trouble(version)
    if trouble:
        return trouble
    try:
        import torch  # noqa: F401
    except Exception as error:  # OSError where a library of the system is missing
        reason = str(error).partition("\n")[0]
        return (
            f"PyTorch {version} is installed and cannot be loaded ({type(error).__name__}: "
            f"{reason}). {_torch_fix(reason)}"
        )
    return None


def missing_library(error: ImportError) -> str | None:
    """Return what to say when a library of somebody else's is not there; None for our own.

    >>> missing_library(ModuleNotFoundError("No module named 'psutil'", name="psutil"))[:45]
    "The library 'psutil' is not installed for thi"
    """
    name = str(error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name in ("", "bhushgpt"):
        return None
    return f"The library {name!r} is not installed for this Python. {set_up(name)}"


def set_up(library: str) -> str:
    """Return the sentence that leads from a Python without a library to one with it."""
    own = course_python()
    if own:
        typed = [own, "-m", "bhushgpt", *map(_typed, _arguments())]
        return f"The course's own Python has it; type this one: {' '.join(typed)}"
    return f"Set the course up: {install_command(library)}"


def course_python() -> str | None:
    """Return the Python of the checkout's `.venv`, ready to be typed, if this is another one."""
    place = os.path.join(_checkout(), ".venv")
    if os.path.realpath(place) == os.path.realpath(sys.prefix):
        return None
    for python in ("bin/python", "Scripts/python.exe"):
        if os.path.exists(os.path.join(place, *python.split("/"))):
            return _typed(os.path.join(place, *python.split("/")))
    return None


def _arguments() -> list[str]:
    """Return what was typed after `python -m bhushgpt`, if that is what runs."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    return sys.argv[1:] if os.path.abspath(sys.argv[0]) == program else []


def install_command(*libraries: str) -> str:
    """Return the command that sets the course up, ready to be typed in any folder.

    Outside a checkout, where there is nothing to set up, it installs the libraries.
    """
    python = _typed(sys.executable or "python")
    script = os.path.join(_checkout(), "tools", "install.py")
    if os.path.exists(script):
        return f"{python} {_typed(script)}"
    return f"{python} -m pip install --upgrade {' '.join(libraries)}"


def _checkout() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _typed(path: str) -> str:
    import shlex

    return path if os.name == "nt" else shlex.quote(path)


def _torch_fix(reason: str) -> str:
    if sys.platform == "win32":
        return (
            "Install Microsoft's Visual C++ runtime, https://aka.ms/vs/17/release/vc_redist.x64.exe"
        )
    if "libgomp" in reason:
        return "Install your system's package libgomp1 (Debian, Ubuntu) or libgomp (Fedora)."
    return f"Install it again: {_typed(sys.executable)} -m pip install --force-reinstall torch"
