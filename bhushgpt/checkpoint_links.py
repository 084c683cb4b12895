"""The names `last` and `best` in a run's folder, each for one of its checkpoints.

A name is a symbolic link. Where there are none (Windows, a USB stick), it is a small file with the
checkpoint's name in it. Both are read and replaced alike.

Lesson: notebook 10.
"""

import os
import re
from pathlib import Path

from bhushgpt.files import flush, write_atomically

LAST, BEST = "last", "best"
STEP_NAME = re.compile(r"step_\d{8,}")


def point(folder: Path, link: str, name: str) -> None:
    """Let `folder/link` mean `folder/name`, in one step: it is never missing or half made.

    Lesson: notebook 10.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     run = Path(name)
    ...     (run / "step_00000007").mkdir()
    ...     point(run, "best", "step_00000007")
    ...     followed(run, "best").name
    'step_00000007'
    """
    temporary = folder / f".{link}.{os.getpid()}.tmp"
    try:
        if os.name == "nt":
            raise NotImplementedError("links need special rights there")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name, target_is_directory=True)
        os.replace(temporary, folder / link)
        flush(folder)
    except (OSError, NotImplementedError):
        temporary.unlink(missing_ok=True)
        write_atomically(folder / link, f"{name}\n".encode())


def followed(folder: Path, link: str) -> Path | None:
    """Return the checkpoint that `folder/link` means, or nothing if there is none.

    A link to anything but a checkpoint's folder beside it is not followed.

    Lesson: notebook 10.
    """
    place = folder / link
    try:
        if place.is_symlink():
            name = os.readlink(place)
        elif place.is_file():
            with place.open(encoding="utf-8") as stream:
                name = stream.read(100).strip()
        else:
            return None
    except (OSError, ValueError):
        return None
    found = folder / name
    return found if STEP_NAME.fullmatch(name) and found.is_dir() else None
