"""The members of a tar archive, read from start to end and never extracted to the disk.

A tar is a row of blocks of 512 bytes: a header with name, kind and size, then the member's bytes,
filled up to whole blocks; two blocks of zeros end it. It has no table of contents, so it can be
read while it is being unpacked. Whatever is odd about it is either skipped and counted (a member
of a strange kind or name) or makes the whole archive refused (damage, a bomb).

Lesson: notebook 13.
"""

import io
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from bhushgpt.tar_headers import (
    BLOCK,
    Entry,
    is_safe_name,
    parse_header,
    pax_records,
    with_extra,
)
from bhushgpt.unpacking import Damaged, Limits

LONGEST_NAME = 1 << 16  # bytes that the long form of a name may take


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
            entry, kind = parse_header(header, self._position)
            if kind in (b"x", b"L"):  # a long name stands before the header it belongs to
                extra |= self._extra(entry.size, kind)
                continue
            if kind not in (b"g", b"K", b"X"):
                members += 1
                if members > self._limits.members:
                    raise Damaged(f"it has more than {self._limits.members:,} members")
                entry = with_extra(entry, extra) if extra else entry
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
        return {"path": data.rstrip(b"\0")} if kind == b"L" else dict(pax_records(data))


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
