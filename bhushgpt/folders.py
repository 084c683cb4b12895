"""Where the course writes: runs in one folder, downloaded data in another, nothing elsewhere.

Lesson: notebook 00.
"""

import os
from pathlib import Path

import platformdirs

from bhushgpt.errors import UserError


def project_root() -> Path:
    """Return the folder of the course's checkout, or the current folder where there is none.

    A notebook may be started from any folder; with an editable installation the checkout is found
    from the package's own place.

    Lesson: notebook 00.
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

    Lesson: notebook 00.
    """
    base = os.environ.get("BHUSHGPT_RUNS")
    folder = Path(base).expanduser() if base else project_root() / "runs"
    return _made(folder.joinpath(*parts), "BHUSHGPT_RUNS")


def cache_folder() -> Path:
    """Return the folder for downloaded texts, made if need be.

    Returns:
        The folder that BHUSHGPT_CACHE names; else `datasets/cache` of the checkout; else, for an
        installed package, the user's own cache folder.

    Raises:
        UserError: If the folder cannot be made.

    Lesson: notebook 03.
    """
    named = os.environ.get("BHUSHGPT_CACHE")
    if named:
        folder = Path(named).expanduser()
    elif (project_root() / "curriculum.toml").is_file():
        folder = project_root() / "datasets" / "cache"
    else:
        folder = Path(platformdirs.user_cache_dir("bhushgpt"))
    return _made(folder, "BHUSHGPT_CACHE")


def _made(folder: Path, variable: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made: {error.strerror or error}. "
            f"Set the environment variable {variable} to a folder that you may write to."
        ) from None
    return folder
