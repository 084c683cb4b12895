"""Pages from a .7z archive, through pylzma where it is installed.

pylzma has to be compiled. Where it is missing, everything but .7z works.

Lesson: notebook 13.
"""

import os
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bhushgpt.documents import Document, document, too_long
from bhushgpt.errors import UserError
from bhushgpt.tar_headers import is_safe_name
from bhushgpt.unpacking import MIB, Damaged, Limits

MISSING = (
    "reading a .7z archive needs pylzma, which is not installed. It has to be compiled: with a C "
    "compiler on the machine, `pip install pylzma`. Or unpack it, and pack the files as .tar.xz."
)
BLOCK_BYTES = 64 * MIB  # what is unpacked at once where pieces cannot be had
PIECE = 1 << 12  # packed bytes; small, because they may unpack to 7,000 times as much
_STREAMED = {b"\x03\x01\x01": False, b"\x21": True}  # LZMA and LZMA2: whether it is the second
_LINK = 0o120000  # what Unix calls a link, in the upper half of the attributes


def needs_pylzma() -> None:
    """Refuse a .7z archive on a machine without pylzma.

    Raises:
        UserError: Saying how to get it, or what to do without.

    Lesson: notebook 13.
    """
    try:
        import py7zlib  # noqa: F401
    except ImportError:
        raise UserError(MISSING[0].upper() + MISSING[1:]) from None


def from_7z(file: Path, limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the .txt members of a .7z archive.

    7z packs many files into one block. Blocks of LZMA and LZMA2, the usual ones, are streamed;
    blocks packed in another way are unpacked at once and must fit into 64 MiB.

    Raises:
        Damaged: If it is no .7z archive, is damaged, encrypted, or a block is too large.

    Lesson: notebook 13.
    """
    needs_pylzma()
    seen: set[str] = set()
    with file.open("rb") as stream:
        for block in _blocks(stream, limits, skipped):
            content = _Content(_pieces(stream, block))
            for member in block:
                name, size = str(member.filename), int(member.size)
                wanted = _wanted(member, seen, limits, skipped)
                seen.add(name)
                data = content.take(size, keep=wanted)
                if not wanted:
                    continue
                if member.digest is not None and zlib.crc32(data) != member.digest:
                    raise Damaged("a member of it does not fit its check sum")
                if page := document(data, skipped):
                    yield page


def _wanted(member: Any, seen: set[str], limits: Limits, skipped: Counter[str]) -> bool:
    name = str(member.filename)
    reasons = {
        "is a symbolic link, not a file": _is_link(member),
        "has a name that leads out of the archive": not is_safe_name(name),
        "has the name of an earlier one": name in seen,
        "is of another kind than .txt": not name.lower().endswith(".txt"),
        too_long(limits): int(member.size) > limits.member_bytes,
    }
    for reason, holds in reasons.items():
        if holds:
            skipped[reason] += 1
            return False
    return True


def _blocks(stream: BinaryIO, limits: Limits, skipped: Counter[str]) -> list[list[Any]]:
    """Return the members of each packed block, in the order in which they lie in it."""
    import py7zlib

    packed = os.fstat(stream.fileno()).st_size
    try:
        archive = py7zlib.Archive7z(stream)
        members = archive.getmembers()
        end = archive.afterheader + archive.nextheaderofs + archive.nextheadersize
    except Exception as error:  # py7zlib stumbles over damage with errors of every kind
        raise Damaged(f"it is not a .7z archive, or it is damaged ({_said(error)})") from None
    if end < packed:
        skipped["is followed by bytes that belong to no archive"] += 1
    total = sum(int(member.size) for member in members)
    if total > limits.total_bytes or total > limits.free_bytes + limits.ratio * packed:
        raise Damaged(f"it is a bomb: {packed:,} bytes would unpack to {total:,}")
    if len(members) > limits.members:
        raise Damaged(f"it has more than {limits.members:,} members")
    blocks: dict[int, list[Any]] = {}
    for member in members:
        blocks.setdefault(id(member._folder), []).append(member)
    return list(blocks.values())


def _pieces(stream: BinaryIO, block: list[Any]) -> Iterator[bytes]:
    """Yield what a block unpacks to."""
    import pylzma

    first, total = block[0], sum(int(member.size) for member in block)
    if not total:
        return
    coders = first._folder.coders
    try:
        if len(coders) == 1 and coders[0]["method"] in _STREAMED:
            unpacker = pylzma.decompressobj(lzma2=_STREAMED[coders[0]["method"]])
            unpacker.decompress(coders[0]["properties"])
            stream.seek(first._src_start)
            left = first.compressed
            while data := stream.read(min(PIECE, left)):
                left -= len(data)
                yield unpacker.decompress(data)
        elif total > BLOCK_BYTES:
            raise Damaged(
                f"a block of it unpacks to {total:,} bytes, more than the {BLOCK_BYTES:,} that are "
                "unpacked at once; pack it again with LZMA, the usual method"
            )
        else:
            # Taken for one member that is as long as the block.
            first._start, first._uncompressed = 0, [total] * len(coders)
            yield first.read()
    except Damaged:
        raise
    except Exception as error:
        raise Damaged(f"a member of it is damaged ({_said(error)})") from None


class _Content:
    """What a block unpacks to, taken off in the lengths of its members."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._ahead = pieces, b""

    def take(self, size: int, *, keep: bool) -> bytes:
        """Return the next bytes; those not to be kept are passed over."""
        kept, left = [], size
        while left:
            piece = self._ahead or next(self._pieces, None)
            if piece is None:
                raise Damaged("it ends in the middle of a member: the copy was cut off")
            self._ahead = piece[left:]
            left -= min(left, len(piece))
            if keep:
                kept.append(piece[: len(piece) - len(self._ahead)])
        return b"".join(kept)


def _is_link(member: Any) -> bool:
    attributes = getattr(member, "attributes", None) or 0
    return (attributes >> 16) & 0o170000 == _LINK


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
