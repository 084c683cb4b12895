"""Files that are whole: told apart by a fingerprint, written in one step.

Lesson: notebook 03.
"""

import hashlib
import io
import lzma
import os
import stat
import tempfile
from pathlib import Path

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

    Lesson: notebook 03.
    """
    return hashlib.sha256(data).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write the file in one step: whoever looks sees the old file, or the whole new one.

    The bytes go to a second file in the same folder, which then takes the name. Folders that are
    missing are made.

    Lesson: notebook 03.
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

    Lesson: notebook 10.
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

    Lesson: notebook 10.
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

    Lesson: notebook 03.
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
