"""Documents: what one page, one line of JSON or one row of a table becomes, or why it does not.

A document is text. What is not clean UTF-8, is empty, holds NUL bytes or is larger than the limit
is left out and counted; nothing is repaired by guessing.

The documents of a shard, whatever it is: a tar of pages, lines of JSON, a table, plain files.

Everything is streamed: of an archive of any size, one document is in memory at a time.

Pages from a .7z archive, through pylzma where it is installed.

pylzma has to be compiled. Where it is missing, everything but .7z works.

Lesson: notebook 14.
"""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bhushgpt.data.archives import (
    MIB,
    Damaged,
    TarReader,
    Unpacked,
    UnpackingLimits,
    is_safe_name,
    plain_files,
    unpacked,
)
from bhushgpt.data.shards import TAR_NAMES, Shard, needs_pylzma, packing_of
from bhushgpt.sources import plain_lines

LONGEST_WORD = 1_000_000  # a tokenizer takes 50 bytes of memory for each letter of a word
_WORD = re.compile(r"\S++")


class Document(NamedTuple):
    """One text and the same text in UTF-8."""

    text: str
    data: bytes


def document(data: bytes, skipped: Counter[str]) -> Document | None:
    r"""Return the document that the bytes spell, or count why there is none.

    A byte order mark is taken out and line ends become `\n`; nothing else is changed.

    Example:
        >>> why = Counter()
        >>> document(b"To Sherlock Holmes\r\n", why)
        Document(text='To Sherlock Holmes\n', data=b'To Sherlock Holmes\n')
        >>> document(b"caf\xe9", why), document(b"a\0b", why), document(b" \n", why), dict(why)
        (None, None, None, {'is not UTF-8 text': 1, 'holds NUL bytes': 1, 'is empty': 1})
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        skipped["is not UTF-8 text"] += 1
        return None
    if "\0" in text:
        skipped["holds NUL bytes"] += 1
        return None
    if not text or text.isspace():
        skipped["is empty"] += 1
        return None
    if len(text) >= LONGEST_WORD and _longest_word(text) >= LONGEST_WORD:
        skipped["has a word of a million letters"] += 1
        return None
    if "\r" in text or text.startswith("\ufeff"):
        text = plain_lines(text)
        data = text.encode("utf-8")
    return Document(text, data)


def from_texts(
    texts: list[str], limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield documents from strings, which may hold what UTF-8 cannot: half a surrogate pair."""
    for text in texts:
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError:
            skipped["is not UTF-8 text"] += 1
            continue
        if len(data) > limits.member_bytes:
            skipped[too_long(limits)] += 1
        elif found := document(data, skipped):
            yield found


def from_file(
    stream: BinaryIO, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the one document that a plain text file is."""
    data = stream.read(limits.member_bytes + 1)
    if len(data) > limits.member_bytes:
        skipped[too_long(limits)] += 1
    elif found := document(data, skipped):
        yield found


def too_long(limits: UnpackingLimits) -> str:
    """Return the words for a text above the limit."""
    return f"is longer than {limits.member_bytes / 2**20:g} MiB"


def _longest_word(text: str) -> int:
    return max(found.end() - found.start() for found in _WORD.finditer(text))


BLOCK_BYTES = 64 * MIB  # what is unpacked at once where pieces cannot be had
PIECE = 1 << 12  # packed bytes; small, because they may unpack to 7,000 times as much
_STREAMED = {b"\x03\x01\x01": False, b"\x21": True}  # LZMA and LZMA2: whether it is the second
_LINK = 0o120000  # what Unix calls a link, in the upper half of the attributes


def from_7z(file: Path, limits: UnpackingLimits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the .txt members of a .7z archive.

    7z packs many files into one block. Blocks of LZMA and LZMA2, the usual ones, are streamed;
    blocks packed in another way are unpacked at once and must fit into 64 MiB.

    Raises:
        Damaged: If it is no .7z archive, is damaged, encrypted, or a block is too large.
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


def _wanted(member: Any, seen: set[str], limits: UnpackingLimits, skipped: Counter[str]) -> bool:
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


def _blocks(stream: BinaryIO, limits: UnpackingLimits, skipped: Counter[str]) -> list[list[Any]]:
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


LONGEST_LINE = 2  # a line of JSON may be so many times as long as a text


def read_shard(shard: Shard, limits: UnpackingLimits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the documents of a shard, always in the same order.

    Args:
        shard: What to read.
        limits: What it may bring.
        skipped: Counts here what is left out, and why.

    Raises:
        Damaged: If it cannot be trusted as a whole.
    """
    try:
        if shard.kind == "parquet":
            yield from from_parquet(Path(shard.file), shard.start, limits, skipped)
        elif shard.kind == "7z":
            yield from from_7z(Path(shard.file), limits, skipped)
        elif shard.kind == "text":
            for name in shard.members:
                yield from from_text_file(Path(shard.file) / name, limits, skipped)
        else:
            with shard.open() as packed:
                stream = unpacked(packed, shard.packing, limits)
                read = from_tar if shard.kind == "tar" else from_json_lines
                yield from read(stream, limits, skipped)
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror or error})") from None


def from_text_file(
    file: Path, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the one document of a plain text file, which may be packed."""
    try:
        with file.open("rb") as stream:
            yield from from_file(unpacked(stream, packing_of(file.name), limits), limits, skipped)
    except (Damaged, OSError):  # a file on its own: the others in the folder are none the worse
        skipped["is damaged or cannot be read"] += 1


def from_tar(
    stream: BinaryIO, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the pages of a tar: its .txt members, and those of the tars inside it."""
    reader = TarReader(stream, limits)
    for entry in plain_files(reader, skipped):
        name = entry.name.lower()
        if name.endswith(TAR_NAMES):
            packing = packing_of(name)
            yield from from_tar(unpacked(reader.open(), packing, limits), limits, skipped)
        elif not name.endswith(".txt"):
            skipped["is of another kind than .txt"] += 1
        elif entry.size > limits.member_bytes:
            skipped[too_long(limits)] += 1
        elif page := document(reader.read(), skipped):
            yield page
    check_the_end(stream, skipped)


def from_json_lines(
    stream: BinaryIO, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the field "text" of each line."""
    longest = LONGEST_LINE * limits.member_bytes
    while line := stream.readline(longest + 1):
        if len(line) > longest:
            skipped[too_long(limits)] += 1
            while line and not line.endswith(b"\n"):
                line = stream.readline(longest)
            continue
        if line.strip():
            yield from _from_line(line, limits, skipped)
    check_the_end(stream, skipped)


def _from_line(line: bytes, limits: UnpackingLimits, skipped: Counter[str]) -> Iterator[Document]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        skipped["is not a line of JSON"] += 1
        return
    text = found.get("text") if isinstance(found, dict) else None
    if not isinstance(text, str):
        skipped['has no field "text"'] += 1
        return
    yield from from_texts([text], limits, skipped)


def from_parquet(
    file: Path, row_group: int, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the column "text" of one row group of a parquet file."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        rows = table.iter_batches(64, row_groups=[row_group], columns=["text"], use_threads=False)
        for batch in rows:
            texts = [text for text in batch.column(0).to_pylist() if text is not None]
            skipped['has no field "text"'] += batch.num_rows - len(texts)
            yield from from_texts(texts, limits, skipped)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Damaged(f"its parquet data is damaged ({_first_line(error)})") from None


def check_the_end(stream: BinaryIO, skipped: Counter[str]) -> None:
    """Read a packed stream to its end, where its check sum stands; count what follows it."""
    inner = getattr(stream, "raw", None)
    if not isinstance(inner, Unpacked):
        return
    while inner.read(1 << 16):  # what a tar may be filled up with
        pass
    if inner.junk:
        skipped["is followed by bytes that belong to no archive"] += 1


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
