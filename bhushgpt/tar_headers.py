"""The headers of a tar archive: 512 bytes with the name, kind and size of a member.

Lesson: notebook 13.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bhushgpt.unpacking import Damaged

BLOCK = 512
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


def parse_header(header: bytes, start: int) -> tuple[Entry, bytes]:
    """Return what a block of 512 bytes says, and the letter of its kind.

    Args:
        header: The block.
        start: Where the block after it begins.

    Raises:
        Damaged: If it is no header, or says what cannot be.

    Lesson: notebook 13.
    """
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


def pax_records(data: bytes) -> Iterator[tuple[str, bytes]]:
    r"""Yield the `key=value` pairs of a pax header; each line begins with its length.

    Example:
        >>> dict(pax_records(b"14 path=a.txt\n"))
        {'path': b'a.txt'}

    Lesson: notebook 13.
    """
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            raise Damaged("a header is damaged")
        line, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, _, value = line.rstrip(b"\n").partition(b"=")
        yield key.decode("utf-8", "replace"), value


def with_extra(entry: Entry, extra: dict[str, bytes]) -> Entry:
    """Return the entry with the name and size that stood before its header.

    Lesson: notebook 13.
    """
    name = extra.get("path", b"").decode("utf-8", "surrogateescape") or entry.name
    size = extra.get("size", b"")
    number = int(size) if size.isdigit() and len(size) < 19 else entry.size
    sparse = any(key.startswith("GNU.sparse") for key in extra)
    return Entry(name, "unknown" if sparse else entry.kind, number, entry.start)
