"""The oldest Python and PyTorch that the course runs on, and the sentence for an older one.

This file and `__main__.py` are written so that an old Python can read them as far as that sentence.

Lesson: notebook 00.
"""

from __future__ import annotations

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

    >>> torch_trouble("2.9.1+cpu")
    'BhushGPT needs PyTorch 2.10 or newer, and this is 2.9.1+cpu: type pip install "torch>=2.10".'
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
        f'type pip install "torch>={needed}".'
    )


def missing_torch() -> str | None:
    """Return why PyTorch cannot be used here: not installed, too old, or not loading; or None."""
    from importlib import metadata

    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return (
            "PyTorch is not installed for this Python. Set the course up: python tools/install.py"
        )
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


def _torch_fix(reason: str) -> str:
    if sys.platform == "win32":
        return (
            "Install Microsoft's Visual C++ runtime, https://aka.ms/vs/17/release/vc_redist.x64.exe"
        )
    if "libgomp" in reason:
        return "Install your system's package libgomp1 (Debian, Ubuntu) or libgomp (Fedora)."
    return "Install it again: pip install --force-reinstall torch"
