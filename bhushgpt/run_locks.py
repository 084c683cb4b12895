"""One run at a time in a folder: the second is refused, and told who the first is.

The lock is the operating system's, on the file `.lock`. It ends with the process that holds it,
however that ends, so no lock is ever left over by a run that was killed.

Lesson: notebook 10.
"""

import contextlib
import datetime
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bhushgpt.errors import UserError

LOCK = ".lock"
# What this process holds, and how often: who has the folder may lock it again.
_held: dict[Path, int] = {}


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Inside the `with`, no other process can lock the folder; it is made if need be.

    Args:
        folder: A run's folder. A process that has it may lock it again, as saving does.

    Raises:
        UserError: If another process holds it (the message says which), or it cannot be written.

    Lesson: notebook 10.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, lock_run(Path(folder)):
    ...     [path.name for path in Path(folder).iterdir()]
    ['.lock']
    """
    place = folder.resolve()
    if place in _held:
        _held[place] += 1
        try:
            yield
        finally:
            _held[place] -= 1
        return
    handle = _locked_file(place)
    _held[place] = 1
    try:
        yield
    finally:
        del _held[place]
        _release(place / LOCK, handle)


def _locked_file(folder: Path) -> int:
    """Return the open lock file, locked and with this process's name in it."""
    file = folder / LOCK
    while True:
        try:
            if os.path.lexists(folder) and not folder.is_dir():
                raise UserError(f"{folder} is not a folder. Name another one for the run.")
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written: {error.strerror or error}. Name another folder."
            ) from error
        if not _lock(handle, file):
            os.close(handle)
            raise UserError(
                f"Another run is writing to {folder}: {_holder(file)}. Two runs in one folder "
                "would overwrite each other. Wait for it, stop it, or name another folder."
            )
        with contextlib.suppress(OSError):
            # Whoever held it may have removed the file between our opening and our locking it.
            if os.name == "nt" or os.fstat(handle).st_ino == file.stat().st_ino:
                break
        os.close(handle)
    me = {"process": os.getpid(), "host": platform.node(), "since": _now()}
    with contextlib.suppress(OSError):  # the lock holds without words too
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(me).encode("utf-8"))
    return handle


def _release(file: Path, handle: int) -> None:
    """Remove the file and give the lock back: in this order where an open file can be removed."""
    if os.name != "nt":
        file.unlink(missing_ok=True)
    os.close(handle)
    if os.name == "nt":
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _lock(handle: int, file: Path) -> bool:
    """Lock an open file, or return False if another process has it."""
    try:
        if os.name == "nt":
            import msvcrt

            # Far behind the text, so that the text can be read while the lock is held.
            os.lseek(handle, 2**20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # some network disks know no locks: believe what the file says
        return not _in_use(file)
    return True


def _in_use(file: Path) -> bool:
    """Return whether the process that wrote the file may still be there."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found["host"] != platform.node() or psutil.pid_exists(int(found["process"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _holder(file: Path) -> str:
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        return f"process {found['process']} on {found['host']}, since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that does not say which"


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
