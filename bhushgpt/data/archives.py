"""What is in an archive, read from start to end and never extracted to the disk.

Compressed streams come first. A megabyte of xz can unpack to seven gigabytes, so nothing is
unpacked as a whole: a reader asks for the next piece, and as soon as a limit is passed the whole
archive is refused.

Then tar, a row of blocks of 512 bytes: a header with name, kind and size, then the member's bytes,
filled up to whole blocks; a block of zeros ends it. It has no table of contents, so it can be read
while it is being unpacked. Whatever is odd about it is either skipped and counted (a member of a
strange kind or name) or makes the whole archive refused (damage, a bomb). It is read by hand since
Python's `tarfile` ends at a damaged header without a word.

Lesson: notebook 14.
"""

import bz2
import io
import lzma
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from bhushgpt.environment import memory_size
from bhushgpt.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd  # type: ignore[import-not-found]
else:
    from backports import zstd


PIECE = 1 << 16
MIB = 1 << 20


class Damaged(UserError):
    """An archive that cannot be trusted as a whole; the message is the end of a sentence."""


@dataclass(frozen=True, kw_only=True)
class UnpackingLimits:
    """How much one archive may bring; far above what honest text needs."""

    member_bytes: int = 8 * MIB
    """A longer text is left out and counted."""
    total_bytes: int = 2**36
    """An archive that unpacks to more is refused."""
    ratio: int = 200
    """An archive that unpacks to more than this times its size is refused; text makes 3 to 10."""
    free_bytes: int = 32 * MIB
    """The ratio counts from here on: a short text of one repeated line is no bomb."""
    members: int = 1_000_000
    """An archive with more is refused: their names are remembered, to notice doubles."""
    memory_bytes: int = 128 * MIB
    """An archive that needs more to be unpacked is refused; `xz -9` needs 65 MiB."""


class _Gzip:
    """zlib behind the methods that the other three decompressors share."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


# How each packing begins, and what unpacks it within so many bytes of memory.
_STARTS = {"xz": b"\xfd7zXZ\x00", "gz": b"\x1f\x8b", "bz2": b"BZh", "zst": b"\x28\xb5\x2f\xfd"}
_OPENERS: dict[str, Callable[[int], Any]] = {
    "xz": lambda memory: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory),
    "gz": lambda memory: _Gzip(),
    "bz2": lambda memory: bz2.BZ2Decompressor(),
    "zst": lambda memory: zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: memory.bit_length() - 1}
    ),
}
PACKINGS = tuple(_OPENERS)
_ERRORS = (lzma.LZMAError, zlib.error, zstd.ZstdError, OSError, EOFError)


class Unpacked(io.RawIOBase):
    """What is in a compressed stream, to be read from start to end.

    Args:
        packed: The compressed bytes.
        packing: xz, gz, bz2 or zst.
        limits: What it may bring.

    Raises:
        Damaged: While reading, if it is of another kind, ends too early, fails its own check sum,
            or passes a limit.

    Example:
        >>> stream = Unpacked(io.BytesIO(lzma.compress(b"Holmes")), "xz")
        >>> stream.read()
        b'Holmes'
    """

    def __init__(
        self, packed: BinaryIO, packing: str, limits: UnpackingLimits | None = None
    ) -> None:
        self._packed, self.packing, self.limits = packed, packing, limits or UnpackingLimits()
        self._decoder: Any = None
        self._ahead = b""
        self.packed_bytes = self.unpacked_bytes = 0
        self.junk = False
        """Whether bytes follow that belong to no compressed stream; they are not read."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the next bytes; 0 at the end."""
        while self._decoder is not None or self._next_stream():
            decoder: Any = self._decoder
            try:
                piece = self._piece(len(buffer))
            except (*_ERRORS, MemoryError) as error:
                raise Damaged(self._reason(error)) from None
            if decoder.eof:  # more streams may follow: `cat a.xz b.xz > both.xz`
                self._ahead, self._decoder = decoder.unused_data, None
            if piece:
                self.unpacked_bytes += len(piece)
                self._check_limits()
                buffer[: len(piece)] = piece
                return len(piece)
        return 0

    def _piece(self, most: int) -> bytes:
        data = b""
        if self._decoder.needs_input:
            data = self._ahead or self._more()
            self._ahead = b""
            if not data:
                raise EOFError
        return self._decoder.decompress(data, most)

    def _more(self) -> bytes:
        data = self._packed.read(PIECE)
        self.packed_bytes += len(data)
        return data

    def _next_stream(self) -> bool:
        """Start on the next compressed stream, if one follows."""
        first, start = self.packed_bytes == 0, _STARTS[self.packing]
        while True:
            if not first:
                self._ahead = self._ahead.lstrip(b"\0")  # padding, which xz allows
            if len(self._ahead) >= len(start) or not (more := self._more()):
                break
            self._ahead += more
        if self._ahead.startswith(start):
            self._decoder = _OPENERS[self.packing](self.limits.memory_bytes)
            return True
        if first:
            what = "it is empty" if not self._ahead else f"it is not a .{self.packing} file"
            raise Damaged(f"{what} (it begins with {self._ahead[:8]!r})" if self._ahead else what)
        self.junk = bool(self._ahead)
        return False

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, EOFError):
            return "it ends in the middle: the download or the copy was cut off"
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            return f"it needs more than {memory_size(self.limits.memory_bytes)} to be unpacked"
        return f"its {self.packing} data is damaged ({error})"

    def _check_limits(self) -> None:
        if self.unpacked_bytes > self.limits.total_bytes:
            raise Damaged(f"it unpacks to more than {self.limits.total_bytes:,} bytes")
        allowed = self.limits.free_bytes + self.limits.ratio * self.packed_bytes
        if self.unpacked_bytes > allowed:
            raise Damaged(
                f"it is a bomb: {self.packed_bytes:,} bytes have unpacked to "
                f"{self.unpacked_bytes:,} already, more than {self.limits.ratio} times as much"
            )


def unpacked(stream: BinaryIO, packing: str, limits: UnpackingLimits) -> BinaryIO:
    """Return the stream with its packing taken off; "" is no packing."""
    if not packing:
        return stream
    return io.BufferedReader(Unpacked(stream, packing, limits), 4 * PIECE)  # type: ignore[return-value]


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
    """One header of a tar archive."""

    name: str
    kind: str
    """file, folder, hard link, symbolic link, device, fifo or unknown."""
    size: int
    """Bytes that belong to the member."""
    start: int
    """Where they begin in the archive."""

    @property
    def end(self) -> int:
        """Where the next header begins; links and devices have no bytes, whatever they say."""
        size = self.size if self.kind in ("file", "unknown") else 0
        return self.start + -(-size // BLOCK) * BLOCK


def is_safe_name(name: str) -> bool:
    r"""Return whether a member's name stays inside the folder it would be put into.

    We never put it anywhere; but an archive that tries is not one to learn from.

    Example:
        >>> [is_safe_name(name) for name in ("a/b.txt", "../b.txt", "/etc/passwd", "C:\\b.txt")]
        [True, False, False, False]
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
    """
    while data:
        length, _, _ = data.partition(b" ")
        # Python turns no more than 4,300 digits into a number.
        if not length.isdigit() or len(length) > 18 or not 0 < int(length) <= len(data):
            raise Damaged("a header is damaged")
        line, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, _, value = line.rstrip(b"\n").partition(b"=")
        yield key.decode("utf-8", "replace"), value


def with_extra(entry: Entry, extra: dict[str, bytes]) -> Entry:
    """Return the entry with the name and size that stood before its header."""
    name = extra.get("path", b"").decode("utf-8", "surrogateescape") or entry.name
    size = extra.get("size", b"")
    number = int(size) if size.isdigit() and len(size) < 19 else entry.size
    sparse = any(key.startswith("GNU.sparse") for key in extra)
    return Entry(name, "unknown" if sparse else entry.kind, number, entry.start)


REPEATED = "has the name of an earlier one"
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
    """

    def __init__(self, stream: BinaryIO, limits: UnpackingLimits | None = None) -> None:
        self._stream, self._limits = stream, limits or UnpackingLimits()
        self.position = 0
        """Bytes that were read or passed over."""
        self._left = 0  # bytes of the member that were not read yet

    def __iter__(self) -> Iterator[Entry]:
        """Yield the headers; a member that is not read is passed over.

        Raises:
            Damaged: If a header is wrong or the archive has no end.
        """
        members = 0
        extra: dict[str, bytes] = {}
        while (header := self._block()) != bytes(BLOCK):
            entry, kind = parse_header(header, self.position)
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
            if kind not in (b"g", b"K", b"X"):
                yield entry
            self._skip(entry.end)

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
            if not self.position:
                raise Damaged("it is empty" if not header else "it is not a tar archive")
            raise Damaged("it has no end: the download or the copy was cut off")
        self.position += BLOCK
        return header

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise Damaged("it ends in the middle of a member: the copy was cut off")
        self.position += count
        return data

    def _skip(self, end: int) -> None:
        while self.position < end:
            self._exactly(min(1 << 20, end - self.position))

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


def plain_files(
    reader: TarReader, skipped: Counter[str], repeated: list[int] | None = None
) -> Iterator[Entry]:
    """Yield the plain files of an archive; count links, devices, unsafe and repeated names.

    Args:
        reader: The archive.
        skipped: Counts here what is not yielded, and why.
        repeated: If given, gets the starts of the members that have the name of an earlier one.
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
            skipped[REPEATED] += 1
            if repeated is not None:
                repeated.append(entry.start)
        else:
            seen.add(key)
            yield entry
