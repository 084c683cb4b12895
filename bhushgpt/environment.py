"""Where the course writes, and how much its notebooks compute.

Runs go into one folder, downloaded data into another, nothing elsewhere. One switch decides how
much the notebooks compute: smoke, laptop or gpu.

Lesson: notebook 00.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Literal, TypeVar, cast

import platformdirs

from bhushgpt.errors import UserError, nearest


def project_root() -> Path:
    """Return the folder of the course's checkout, or the current folder where there is none.

    A notebook may be started from any folder; with an editable installation the checkout is found
    from the package's own place.
    """
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "curriculum.toml").is_file() else Path.cwd()


def runs_folder(*parts: str) -> Path:
    """Return the folder for everything that a run writes, made if need be.

    Args:
        parts: Names of folders below `runs/`.

    Returns:
        `<project>/runs/<parts>`, or below the folder that the environment variable BHUSHGPT_RUNS
        names.

    Raises:
        UserError: If the folder cannot be made.
    """
    folder = named_folder("BHUSHGPT_RUNS") or project_root() / "runs"
    return _made(folder.joinpath(*parts), "BHUSHGPT_RUNS")


def cache_folder() -> Path:
    """Return the folder for downloaded texts, made if need be.

    Returns:
        The folder that BHUSHGPT_CACHE names; else `datasets/cache` of the checkout; else, for an
        installed package, the user's own cache folder.

    Raises:
        UserError: If the folder cannot be made.
    """
    if named := named_folder("BHUSHGPT_CACHE"):
        folder = named
    elif (project_root() / "curriculum.toml").is_file():
        folder = project_root() / "datasets" / "cache"
    else:
        folder = Path(platformdirs.user_cache_dir("bhushgpt"))
        if not folder.is_absolute():  # nobody's home is known: it would be a folder named "~"
            folder = Path(tempfile.gettempdir()) / "bhushgpt"
    return _made(folder, "BHUSHGPT_CACHE")


def named_folder(variable: str) -> Path | None:
    """Return the folder that an environment variable names, `~` written out; None if it is not set.

    Raises:
        UserError: If it begins with `~` and no home folder is known.
    """
    named = os.environ.get(variable)
    try:
        return Path(named).expanduser() if named else None
    except RuntimeError:
        raise UserError(
            f"{variable} is {named}, and the home folder is not known. Set it to the whole path."
        ) from None


def _made(folder: Path, variable: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made: {error.strerror or error}. "
            f"Set the environment variable {variable} to a folder that you may write to."
        ) from None
    return folder


def in_notebook() -> bool:
    """Return whether this runs in the kernel of a notebook.

    >>> in_notebook()
    False
    """
    interactive = sys.modules.get("IPython")  # a kernel has loaded it already
    return interactive is not None and hasattr(interactive.get_ipython(), "kernel")


Scale = Literal["smoke", "laptop", "gpu"]
Value = TypeVar("Value")

SCALES: tuple[Scale, ...] = ("smoke", "laptop", "gpu")


def current_scale() -> Scale:
    """Return the scale that the notebooks run at.

    The environment variable BHUSHGPT_SCALE decides: `smoke` is what the tests run (seconds),
    `laptop` is at most about three minutes a notebook on two CPU cores, `gpu` needs CUDA. Without
    the variable it is `gpu` on a machine with CUDA and `laptop` on any other.

    Raises:
        UserError: If the variable holds another word.
    """
    named = os.environ.get("BHUSHGPT_SCALE")
    if not named:
        import torch  # here, since the folders are wanted by commands that need no torch

        return "gpu" if torch.cuda.is_available() else "laptop"
    if named not in SCALES:
        raise UserError(f"BHUSHGPT_SCALE is {named!r}. {nearest(named, SCALES)}")
    return cast(Scale, named)


def pick(*, smoke: Value, laptop: Value, gpu: Value | None = None) -> Value:
    """Return the value for the current scale; `gpu` left out means the laptop's value.

    >>> pick(smoke="a few steps", laptop="three minutes") in ("a few steps", "three minutes")
    True
    """
    scale = current_scale()
    if scale == "smoke":
        return smoke
    if scale == "gpu" and gpu is not None:
        return gpu
    return laptop
