"""Files that are whole, and folders that one process writes at a time.

A file is written beside its place and then takes it in one step, so that whoever looks sees the
old one or the new one. What is read is an ordinary file of a bounded size. A run's folder is locked
while it is written, and the second run is told who the first is. Room on the disk is asked for
before anything is written.

Lesson: notebook 00.
"""

import contextlib
import dataclasses
import datetime
import errno
import hashlib
import io
import json
import lzma
import os
import platform
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import psutil

from bhushgpt.environment import command
from bhushgpt.errors import UserError, nearest

# A text is read as a whole and takes a few times its size; a larger one is prepared as tokens.
LARGEST = 2**28
PIECE = 2**22
UNPACKING_MEMORY = 2**27  # `xz -9` needs 65 MiB
# The largest kind that the course reads, a vocabulary of 50,000 parts of words, takes about 3 MB.
LONGEST_JSON = 2**26

Kind = TypeVar("Kind")


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
        with contextlib.suppress(OSError):  # some disks, such as a USB stick's, have no modes
            os.chmod(temporary, 0o644)  # mkstemp keeps its files from everybody else
        os.replace(temporary, path)
        flush(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# What a disk says that cannot flush a folder: shares of virtual machines, some network disks.
_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
_NO_FOLDERS += (errno.EACCES, errno.EPERM, errno.EISDIR)


def flush(path: Path) -> None:
    """Return when a file's bytes, or a folder's names, are on the disk and survive a power cut.

    A written file is at first only in the machine's memory, and a renaming only in the folder's.
    Where a disk cannot flush a folder, a warning says so, and that is all.
    """
    if not path.is_dir():
        _flush(path, os.O_RDWR)
    elif os.name != "nt":  # Windows flushes its folders itself
        try:
            _flush(path, os.O_RDONLY)
        except OSError as error:
            if error.errno not in _NO_FOLDERS:
                raise
            _notice(
                "The disk cannot flush a folder. Files are whole all the same, but after a power "
                "cut the newest may be missing."
            )


@cache
def _notice(text: str) -> None:
    """Warn once, however many folders and files it is true of."""
    warnings.warn(text, stacklevel=3)


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
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


POINTER = b"version https://git-lfs.github.com/"


def refuse_pointer(path: Path) -> None:
    """Refuse a file that Git LFS has put in the place of a large one.

    Raises:
        UserError: If it is one; the message says how to get the file.
    """
    try:
        with open_regular(path) as stream:
            start = stream.read(len(POINTER))
    except OSError:  # whoever reads it says why
        return
    if start == POINTER:
        raise UserError(
            f"{path} is a pointer of Git LFS in the place of a file: the repository was cloned "
            "without it. Install Git LFS and type in the repository: git lfs pull"
        )


@contextmanager
def named_in_utf8(path: Path) -> Iterator[Path]:
    """Give a file by a name in UTF-8, for libraries that take no other, inside the `with`.

    On most systems a name may be any bytes, and those of an old archive are. Such a file, or one
    in such a folder, is reached by a link of a plain name.

    >>> with named_in_utf8(Path("weights.safetensors")) as name:
    ...     str(name)
    'weights.safetensors'
    """
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"link{path.suffix}")
            link.symlink_to(path.absolute())
            yield link
        return
    yield path


def look_alike(path: Path) -> str:
    """Return the question that helps after a misspelt name: what lies beside it under a like one.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "novel.txt").touch()
    >>> look_alike(folder / "nvel.txt").replace(str(folder), "...")
    " Did you mean '.../novel.txt'?"
    >>> look_alike(folder / "novel.txt"), look_alike(folder / "else"), look_alike(folder / "a/b")
    ('', '', '')
    """
    with contextlib.suppress(OSError):
        if not path.exists():
            names = [found.name for found in path.parent.iterdir()]
            if close := get_close_matches(path.name, names, n=1):
                return f" Did you mean {str(path.with_name(close[0]))!r}?"
    return ""


def read_file(path: Path) -> bytes:
    """Return the file's bytes, unpacked if its name ends in `.xz`.

    Raises:
        UserError: If the file cannot be read, is too large to be read at once, or an `.xz` file
            is damaged.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise _too_large(path)
        data = path.read_bytes()
        return _unpacked(data, path) if path.suffix == ".xz" else data
    except OSError as error:
        reason = f"{error.strerror or error}.{look_alike(path)}"
        raise UserError(f"{path.name} cannot be read: {reason}") from None
    except MemoryError:
        raise UserError(
            f"{path.name} is too large for the free memory. Turn it into tokens first, which "
            "takes little memory:\n  "
            + command("prepare", path, "--tokenizer", "bytes", "--out", "tokens")
        ) from None
    except lzma.LZMAError as error:
        raise UserError(f"{path.name} is a damaged .xz file ({error}). Get it again.") from None


def _unpacked(data: bytes, path: Path) -> bytes:
    """Unpack piece by piece: a megabyte of xz can hold seven gigabytes, and ask for four more."""
    pieces, size = [], 0
    while data:
        unpacker = lzma.LZMADecompressor(memlimit=UNPACKING_MEMORY)
        given = data
        while not unpacker.eof:
            pieces.append(unpacker.decompress(given, max_length=PIECE))
            size += len(pieces[-1])
            if size > LARGEST:
                raise _too_large(path)
            if unpacker.needs_input and not unpacker.eof:
                raise lzma.LZMAError("it is cut off")
            given = b""
        data = unpacker.unused_data.lstrip(b"\0")  # an .xz file may hold several streams
    return b"".join(pieces)


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path.name} holds more than {megabytes(LARGEST)} of text, too much to be read at "
        "once. Turn it into tokens first, which takes little memory:\n  "
        + command("prepare", path, "--tokenizer", "bytes", "--out", "tokens")
    )


# What systems put into folders on their own.
_NOBODYS = {"lost+found", "desktop.ini", "thumbs.db", ".ds_store"}


def own_names(folder: Path) -> set[str]:
    """Return the names in a folder that somebody put there; none if there is no folder.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "lost+found").mkdir(), (folder / "thesis.txt").touch(), own_names(folder)
    (None, None, {'thesis.txt'})
    """
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if name.lower() not in _NOBODYS}


def read_json(path: Path, kind: type[Kind], *, deep: bool = False) -> Kind:
    """Return what a JSON file holds, as an object of a kind, such as a dataclass of settings.

    Args:
        path: An ordinary file of at most `LONGEST_JSON` bytes.
        kind: See `of_kind`.
        deep: See `of_kind`.

    Raises:
        UserError: If it cannot be read or is no JSON, or a field is wrong; named with the file.
    """
    try:
        with open_regular(path) as stream:
            data = stream.read(LONGEST_JSON + 1)
        if len(data) > LONGEST_JSON:
            raise UserError(f"{path} has more than {LONGEST_JSON:,} bytes. It is not read.")
        # Not msgspec's own reader: an infinite number, which Python writes as JSON, is none to it.
        found = json.loads(data.decode("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged: it is not JSON ({error}). It was not used.") from error
    return of_kind(found, kind, str(path), deep=deep)


def write_json(path: Path, record: Any) -> None:
    """Write a dataclass for `read_json`, whole or not at all: one line for each list of numbers."""
    text = json.dumps(dataclasses.asdict(record), indent=1)
    text = re.sub(r"\[\s*([^][{}]*?)\s*\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    write_atomically(path, (text + "\n").encode())


def of_kind(data: Any, kind: type[Kind], where: str, *, deep: bool = False) -> Kind:
    """Return plain objects, as JSON has them, as an object of a kind, every field checked.

    Args:
        data: Dictionaries, lists, texts and numbers.
        kind: A dataclass, a TypedDict, or a plain type such as dict.
        where: Where they come from, for the message.
        deep: Whether unknown names are refused inside its fields, too. Not where a field may hold
            more than its kind says, such as the settings of any model.

    Raises:
        UserError: If a field is missing, unknown or of another type; the message names it.

    >>> of_kind({"format": "1"}, dict[str, int], "a.json")
    Traceback (most recent call last):
    bhushgpt.errors.UserError: a.json cannot be used: Expected `int`, got `str` - at `$[...]`. It \
was changed after it was written, or is of another version of bhushgpt.
    """
    import msgspec  # here, so that what reads no JSON does not wait for it

    for name, known in _unknown(data, kind, deep):
        raise UserError(
            f"{where} has a setting {name!r} that this version of bhushgpt does not know. "
            f"{nearest(name, known)} A later version may have written it: update bhushgpt."
        )
    try:
        return msgspec.convert(data, kind, str_keys=True)  # JSON has no other keys than texts
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, UserError):  # the settings' own checks say it better
            raise UserError(f"{where} cannot be used. {error.__cause__}") from error
        raise UserError(
            f"{where} cannot be used: {error}. It was changed after it was written, or is of "
            "another version of bhushgpt."
        ) from error


def _unknown(data: Any, kind: Any, deep: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield each name that a dataclass does not have, those inside others too, and those it has."""
    if isinstance(data, dict) and dataclasses.is_dataclass(kind):
        try:
            kinds = get_type_hints(kind)
        except NameError:  # of names that only a checker of types sees
            kinds = {}
        known = [entry.name for entry in dataclasses.fields(kind)]
        for name, value in data.items():
            if name not in known:
                yield str(name), known
            elif deep:
                yield from _unknown(value, kinds.get(name), deep)
    elif isinstance(data, dict) and get_origin(kind) is dict:
        for value in data.values():
            yield from _unknown(value, get_args(kind)[-1], deep)
    elif isinstance(data, list) and get_args(kind):
        for value in data:
            yield from _unknown(value, get_args(kind)[0], deep)
    elif isinstance(data, dict):  # one of several: the only one that has names
        classes = [one for one in get_args(kind) if dataclasses.is_dataclass(one)]
        if len(classes) == 1:
            yield from _unknown(data, classes[0], deep)


LOCK = ".lock"
# The lock files that this process holds: who has a folder may ask for it again.
_held: set[Path] = set()


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Inside the `with`, no other process is one; the folder is made if need be.

    The lock is the operating system's, on the file `.lock`. It ends with the process that holds it,
    however that ends, so no lock is ever left over by a run that was killed. A process that has the
    folder may ask for it again, as saving does.

    Raises:
        UserError: If another process holds it (the message says which), or it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, one_writer(Path(folder)):
    ...     [path.name for path in Path(folder).iterdir()]
    ['.lock']
    """
    file = folder.resolve() / LOCK
    if file in _held:
        yield
        return
    handle = _locked(file)
    _held.add(file)
    try:
        yield
    finally:
        _held.discard(file)
        with contextlib.suppress(OSError):  # while it is locked, so that nobody finds it free
            file.unlink(missing_ok=True)
        os.close(handle)
        if os.name == "nt":  # which removes no open file
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _locked(file: Path) -> int:
    """Return the open lock file, locked and with this process's name in it."""
    # Not its FileLock: that one does not say who holds it, and on a disk without locks it is held
    # for ever by a file whose writer was killed before it had written.
    from filelock import lock_descriptor

    folder = file.parent
    while True:
        try:
            if os.path.lexists(folder) and not folder.is_dir():
                raise UserError(f"{folder} is not a folder. Name another one for the run.")
            folder.mkdir(parents=True, exist_ok=True)
            if file.is_symlink():
                raise UserError(f"{file} is a link, so it is no lock. Remove it and start again.")
            handle = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written: {error.strerror or error}. Name another folder."
            ) from error
        try:
            is_mine = lock_descriptor(handle, blocking=False)
            has_locks = True
        except OSError:  # some network disks know no locks: believe what the file says
            is_mine, has_locks = not _in_use(file), False
        if not is_mine:
            os.close(handle)
            raise UserError(
                f"Another run is writing to {folder}: {_holder(file)}. Two runs in one folder "
                "would overwrite each other. Wait for it, stop it, or name another folder."
            )
        with contextlib.suppress(OSError):
            # Whoever held it may have removed the file between our opening and our locking it.
            if os.name == "nt" or os.path.samestat(os.fstat(handle), file.stat()):
                break
        os.close(handle)
    me = {"process": os.getpid(), "host": platform.node(), "since": _now()}
    with contextlib.suppress(OSError):  # the lock holds without words too
        os.ftruncate(handle, 0)
        # After a blank: the first byte is what Windows locks, and nobody can read it then.
        os.write(handle, b" " + json.dumps(me).encode("utf-8"))
    if not has_locks:
        _notice(
            f"The disk knows no locks: whether a run has a folder is known by what {LOCK} in it "
            "says. Start no two runs in one folder at the same moment."
        )
    return handle


def _written_by(file: Path) -> dict[str, Any]:
    """Return what the holder of a lock has written there."""
    try:
        with file.open("rb", buffering=0) as stream:
            stream.seek(1)
            found = json.loads(stream.read(1000))
        return {"process": int(found["process"]), "host": found["host"], "since": found["since"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _in_use(file: Path) -> bool:
    """Return whether the process that wrote the file may still be there."""
    found = _written_by(file)
    here = found.get("host") == platform.node()
    return bool(found) and (not here or psutil.pid_exists(found["process"]))


def _holder(file: Path) -> str:
    found = _written_by(file)
    if not found:
        return "a process that does not say which"
    return f"process {found['process']} on {found['host']}, since {found['since']}"


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
