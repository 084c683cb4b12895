"""What an interrupted save leaves in a run's folder, and how it is cleared up.

While a checkpoint is made it has a hidden name that says what it is:

    .step_00000200.1234.new.tmp    being written by process 1234
    .step_00000200.1234.old.tmp    the one it takes the place of, for the moment between two names
    .step_00000200.1234.gone.tmp   being deleted

Lesson: notebook 10.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path

from bhushgpt.errors import UserError
from bhushgpt.files import flush
from bhushgpt.manifests import verify_manifest

HIDDEN = re.compile(r"\.(step_\d{8,})\.\d+\.(new|old|gone)\.tmp")
# Also: links and records on their way, and what earlier versions called their checkpoints.
LEFT = re.compile(r"\.step_\d{8,}\..*tmp|\.(last|best)\..+|\..+\.(json|jsonl|png)\.[a-z0-9_]{8}")


def hidden(folder: Path, name: str, kind: str) -> Path:
    """Return the name that a checkpoint has while it is `new`, `old` or `gone`.

    Lesson: notebook 10.
    """
    return folder / f".{name}.{os.getpid()}.{kind}.tmp"


def sweep(folder: Path) -> list[str]:
    """Clear up what saves that were killed have left, and return a sentence for each thing.

    A save that was complete but for its name gets its name. The folder must be locked: a save in
    progress looks the same.

    Lesson: notebook 10.
    """
    found = sorted(path for path in folder.iterdir() if LEFT.fullmatch(path.name))
    # What is new before what is old: it is the later one.
    found.sort(key=lambda path: ".new." not in path.name)
    return [_swept(folder, path) for path in found]


def _swept(folder: Path, path: Path) -> str:
    match = HIDDEN.fullmatch(path.name)
    if match and match[2] != "gone" and not (folder / match[1]).exists() and _is_whole(path):
        path.replace(folder / match[1])
        flush(folder)
        return f"The save of {match[1]} had been stopped just before its end; it is complete now."
    size = _size(path)
    if not remove(path):
        return f"{path} was left by a save that was stopped, and cannot be removed. Remove it."
    return f"Removed {path.name} ({size:,} bytes), left by a save that was stopped."


def remove(path: Path) -> bool:
    """Remove a file, a link or a folder with all that is in it; return whether it is gone.

    Lesson: notebook 10.
    """
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return not os.path.lexists(path)


def _is_whole(folder: Path) -> bool:
    try:
        verify_manifest(folder)
    except (UserError, OSError):
        return False
    return True


def _size(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())
