"""Files that are whole: told apart by a fingerprint, written in one step.

One run at a time in a folder: the second is refused, and told who the first is.

The lock is the operating system's, on the file `.lock`. It ends with the process that holds it,
however that ends, so no lock is ever left over by a run that was killed.

Room on the disk, asked for before anything is written.

Lesson: notebook 00.
"""

import contextlib
import datetime
import errno
import hashlib
import io
import json
import lzma
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bhushgpt.errors import UserError

# A text is read as a whole and takes a few times its size; a larger one is prepared as tokens.
LARGEST = 2**28
PIECE = 2**22
UNPACKING_MEMORY = 2**27  # `xz -9` needs 65 MiB


def sha256(data: bytes) -> str:
    """Return the SHA-256 fingerprint of the bytes, 64 hexadecimal digits.

    Example:
        >>> sha256(b"Holmes")[:8]
        '0fbbc4a4'
    """
    return hashlib.sha256(data).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write the file in one step: whoever looks sees the old file, or the whole new one.

    The bytes go to a second file in the same folder, which then takes the name. Folders that are
    missing are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp keeps its files from everybody else
        os.replace(temporary, path)
        flush(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Return when a file's bytes, or a folder's names, are on the disk and survive a power cut.

    A written file is at first only in the machine's memory, and a renaming only in the folder's.
    """
    if path.is_dir():
        if os.name == "nt":
            return  # Windows flushes its folders itself
        handle = os.open(path, os.O_RDONLY)
    else:
        handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading, if it is a file: reading a pipe or a device might never end.

    Raises:
        UserError: If it is a folder, pipe, device or socket.
        OSError: If it cannot be opened.
    """
    # Without waiting: opening a pipe would otherwise wait for someone to write to it.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError(f"{path} is not an ordinary file, so it is not read.")
    return open(handle, "rb")


def read_file(path: Path) -> bytes:
    """Return the file's bytes, unpacked if its name ends in `.xz`.

    Raises:
        UserError: If the file cannot be read, is too large to be read at once, or an `.xz` file
            is damaged.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise _too_large(path.name)
        data = path.read_bytes()
        return _unpacked(data, path.name) if path.suffix == ".xz" else data
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror or error}.") from None
    except lzma.LZMAError as error:
        raise UserError(f"{path.name} is a damaged .xz file ({error}). Get it again.") from None


def _unpacked(data: bytes, name: str) -> bytes:
    """Unpack piece by piece: a megabyte of xz can hold seven gigabytes, and ask for four more."""
    pieces, size = [], 0
    while data:
        unpacker = lzma.LZMADecompressor(memlimit=UNPACKING_MEMORY)
        given = data
        while not unpacker.eof:
            pieces.append(unpacker.decompress(given, max_length=PIECE))
            size += len(pieces[-1])
            if size > LARGEST:
                raise _too_large(name)
            if unpacker.needs_input and not unpacker.eof:
                raise lzma.LZMAError("it is cut off")
            given = b""
        data = unpacker.unused_data.lstrip(b"\0")  # an .xz file may hold several streams
    return b"".join(pieces)


def _too_large(name: str) -> UserError:
    return UserError(
        f"{name} holds more than {LARGEST // 2**20:,} MiB of text, too much to be read at once. "
        "Turn it into tokens first, which takes little memory: python -m bhushgpt prepare"
    )


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


class NoRoom(UserError):
    """The disk is full: nothing that was there before is lost, and going on may still be wanted."""


def free_bytes(folder: Path) -> int:
    """Return the bytes that can still be written where a folder is, or will be.

    >>> free_bytes(Path("a folder that does not exist yet")) > 0
    True
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check_room(folder: Path, needed: int, what: str = "This") -> None:
    """Refuse to write more than there is room for.

    Args:
        folder: Where it will be written.
        needed: Bytes.
        what: The beginning of the sentence: what is about to be written.

    Raises:
        NoRoom: With the size needed and the size that is free.
    """
    free = free_bytes(folder)
    if needed > free:
        raise NoRoom(
            f"{what} needs {megabytes(needed)}, and the disk of {folder} has "
            f"{megabytes(free)} free. Make room there, or name a folder on another disk."
        )


def is_full(error: BaseException) -> bool:
    """Return whether an error says that the disk, or one's share of it, is full.

    >>> is_full(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    full = (errno.ENOSPC, errno.EDQUOT)
    text = str(error)  # a library in Rust has only words for it
    return getattr(error, "errno", None) in full or any(f"os error {n}" in text for n in full)


def megabytes(size: int) -> str:
    """Return a size in MB, rounded up: what is asked for must be enough.

    >>> megabytes(1), megabytes(1_234_500_000)
    ('0.1 MB', '1,234.5 MB')
    """
    return f"{-(-size // 100_000) / 10:,.1f} MB"
