"""Compressed streams unpacked piece by piece, and the limits that a bomb runs into.

A megabyte of xz can unpack to seven gigabytes. So nothing is unpacked as a whole: a reader asks
for the next piece, and as soon as a limit is passed the whole archive is refused.

Lesson: notebook 13.
"""

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

if sys.version_info >= (3, 14):
    from compression import zstd  # type: ignore[import-not-found]
else:
    from backports import zstd

from bhushgpt.errors import UserError

PIECE = 1 << 16
MIB = 1 << 20


class Damaged(UserError):
    """An archive that cannot be trusted as a whole; the message is the end of a sentence.

    Lesson: notebook 13.
    """


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one archive may bring; far above what honest text needs.

    Lesson: notebook 13.
    """

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

    Lesson: notebook 13.
    """

    def __init__(self, packed: BinaryIO, packing: str, limits: Limits | None = None) -> None:
        self._packed, self.packing, self.limits = packed, packing, limits or Limits()
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
        while len(self._ahead) < len(start) and (more := self._more()):
            self._ahead += more
            if not first:
                self._ahead = self._ahead.lstrip(b"\0")  # padding, which xz allows
        if self._ahead.startswith(start):
            self._decoder = _OPENERS[self.packing](self.limits.memory_bytes)
            return True
        if first:
            what = "it is empty" if not self._ahead else f"it is not a .{self.packing} file"
            raise Damaged(f"{what} (it begins with {self._ahead[:8]!r})" if self._ahead else what)
        self.junk = bool(self._ahead.strip(b"\0"))
        return False

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, EOFError):
            return "it ends in the middle: the download or the copy was cut off"
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            return f"it needs more than {self.limits.memory_bytes // MIB} MiB to be unpacked"
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


def unpacked(stream: BinaryIO, packing: str, limits: Limits) -> BinaryIO:
    """Return the stream with its packing taken off; "" is no packing.

    Lesson: notebook 13.
    """
    if not packing:
        return stream
    return io.BufferedReader(Unpacked(stream, packing, limits), 4 * PIECE)  # type: ignore[return-value]
