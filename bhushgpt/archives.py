"""The members of a tar archive, read from start to end and never extracted to the disk.

A tar is a row of blocks of 512 bytes: a header with name, kind and size, then the member's bytes,
filled up to whole blocks; two blocks of zeros end it. It has no table of contents, so it can be
read while it is being unpacked. Whatever is odd about it is either skipped and counted (a member
of a strange kind or name) or makes the whole archive refused (damage, a bomb).

Lesson: notebook 13.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from bhushgpt.unpacking import Damaged, Limits

BLOCK = 512
LONGEST_NAME = 1 << 16  # bytes that the long form of a name may take
_KINDS = {
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "device",
    b"4": "device",
    b"5": "folder",
    b"6": "fifo",
}
_FILES = (b"0", b"\0", b"7")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Entry:
    """One header of a tar archive.

    Lesson: notebook 13.
    """

    name: str
    kind: str
    """file, folder, hard link, symbolic link, device, fifo or unknown."""
    size: int
    """Bytes that belong to the member."""
    start: int
    """Where they begin in the archive."""


def is_safe_name(name: str) -> bool:
    r"""Return whether a member's name stays inside the folder it would be put into.

    We never put it anywhere; but an archive that tries is not one to learn from.

    Example:
        >>> [is_safe_name(name) for name in ("a/b.txt", "../b.txt", "/etc/passwd", "C:\\b.txt")]
        [True, False, False, False]

    Lesson: notebook 13.
    """
    parts = name.replace("\\", "/").split("/")
    return bool(name) and not (
        ".." in parts or parts[0] == "" or _DRIVE.match(name) or "\0" in name
    )


class TarReader:
    """Reads a tar archive from a stream that need not be seekable.

    Args:
        stream: The archive's bytes.
        limits: What it may bring.

    Example:
        >>> import tarfile
        >>> packed = io.BytesIO()
        >>> with tarfile.open(fileobj=packed, mode="w") as tar:
        ...     member = tarfile.TarInfo("page.txt")
        ...     member.size = 6
        ...     tar.addfile(member, io.BytesIO(b"Holmes"))
        >>> reader = TarReader(io.BytesIO(packed.getvalue()))
        >>> [(entry.name, entry.kind, reader.read()) for entry in reader]
        [('page.txt', 'file', b'Holmes')]

    Lesson: notebook 13.
    """

    def __init__(self, stream: BinaryIO, limits: Limits | None = None) -> None:
        self._stream, self._limits = stream, limits or Limits()
        self._position = 0
        self._left = 0  # bytes of the member that were not read yet

    def __iter__(self) -> Iterator[Entry]:
        """Yield the headers; a member that is not read is passed over.

        Raises:
            Damaged: If a header is wrong or the archive has no end.
        """
        members = 0
        extra: dict[str, bytes] = {}
        while (header := self._block()) != bytes(BLOCK):
            entry, kind = _parse(header, self._position)
            if kind in (b"x", b"L"):  # a long name stands before the header it belongs to
                extra |= self._extra(entry.size, kind)
                continue
            if kind not in (b"g", b"K", b"X"):
                members += 1
                if members > self._limits.members:
                    raise Damaged(f"it has more than {self._limits.members:,} members")
                entry = _with(entry, extra) if extra else entry
                extra = {}
            self._left = entry.size if entry.kind in ("file", "unknown") else 0
            end = self._position + -(-self._left // BLOCK) * BLOCK
            if kind not in (b"g", b"K", b"X"):
                yield entry
            self._skip(end)

    def read(self) -> bytes:
        """Return the bytes of the member that was yielded last."""
        data = self._exactly(self._left)
        self._left = 0
        return data

    def open(self) -> BinaryIO:
        """Return the member that was yielded last as a stream."""
        return io.BufferedReader(_Member(self))  # type: ignore[return-value]

    def some(self, most: int) -> bytes:
        """Return the next bytes of the member that was yielded last, empty at its end."""
        data = self._exactly(min(most, self._left))
        self._left -= len(data)
        return data

    def _block(self) -> bytes:
        header = self._stream.read(BLOCK)
        if len(header) < BLOCK:
            if not self._position:
                raise Damaged("it is empty" if not header else "it is not a tar archive")
            raise Damaged("it has no end: the download or the copy was cut off")
        self._position += BLOCK
        return header

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise Damaged("it ends in the middle of a member: the copy was cut off")
        self._position += count
        return data

    def _skip(self, end: int) -> None:
        while self._position < end:
            self._exactly(min(1 << 20, end - self._position))

    def _extra(self, size: int, kind: bytes) -> dict[str, bytes]:
        if size > LONGEST_NAME:
            raise Damaged(f"it has a name of {size:,} bytes")
        data = self._exactly(-(-size // BLOCK) * BLOCK)[:size]
        return {"path": data.rstrip(b"\0")} if kind == b"L" else dict(_records(data))


class _Member(io.RawIOBase):
    def __init__(self, reader: TarReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[override]
        data = self._reader.some(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def plain_files(reader: TarReader, skipped: Counter[str]) -> Iterator[Entry]:
    """Yield the plain files of an archive; count links, devices, unsafe and repeated names.

    Lesson: notebook 13.
    """
    seen: set[int] = set()
    for entry in reader:
        if entry.kind == "folder":
            continue
        if entry.kind != "file":
            skipped[f"is a {entry.kind}, not a file"] += 1
        elif not is_safe_name(entry.name):
            skipped["has a name that leads out of the archive"] += 1
        elif (key := hash(entry.name)) in seen:
            skipped["has the name of an earlier one"] += 1
        else:
            seen.add(key)
            yield entry


def _parse(header: bytes, start: int) -> tuple[Entry, bytes]:
    stated, kind = _number(header[148:156]), header[156:157]
    if stated != sum(header) - sum(header[148:156]) + 8 * 32:
        raise Damaged("it is not a tar archive" if start == BLOCK else "a header is damaged")
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:  # the name's first part
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    size = _number(header[124:136])
    if size < 0:
        raise Damaged("a member has a negative size")
    if kind == b"S":
        raise Damaged("it has a sparse member, which is not read")
    text = name.decode("utf-8", "surrogateescape")
    # The oldest archives mark a folder by the slash at its end.
    word = "folder" if kind in b"\0" + b"0" and text.endswith("/") else _word(kind)
    return Entry(text, word, size, start), kind


def _word(kind: bytes) -> str:
    return "file" if kind in _FILES else _KINDS.get(kind, "unknown")


def _number(field: bytes) -> int:
    """Return a number of a header: octal digits, or binary where the first byte says so."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return -1


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the `key=value` pairs of a pax header; each line begins with its length."""
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            raise Damaged("a header is damaged")
        line, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, _, value = line.rstrip(b"\n").partition(b"=")
        yield key.decode("utf-8", "replace"), value


def _with(entry: Entry, extra: dict[str, bytes]) -> Entry:
    """Return the entry with the name and size that stood before its header."""
    name = extra.get("path", b"").decode("utf-8", "surrogateescape") or entry.name
    size = extra.get("size", b"")
    number = int(size) if size.isdigit() and len(size) < 19 else entry.size
    sparse = any(key.startswith("GNU.sparse") for key in extra)
    return Entry(name, "unknown" if sparse else entry.kind, number, entry.start)
