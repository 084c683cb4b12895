"""The documents of a shard, whatever it is: a tar of pages, lines of JSON, a table, plain files.

Everything is streamed: of an archive of any size, one document is in memory at a time. A document
is text. What is not clean UTF-8, is empty, holds NUL bytes or is larger than the limit is left out
and counted; nothing is repaired by guessing. Text files that people collect themselves are larger
than a page: they are read in pieces, freed of Project Gutenberg's header and licence, and cut
where a separator says that a document ends, or into pages.

Lesson: notebook 14.
"""

import bz2
import codecs
import io
import itertools
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bhushgpt.data.archives import (
    MIB,
    REPEATED,
    Damaged,
    TarReader,
    Unpacked,
    UnpackingLimits,
    is_safe_name,
    plain_files,
    unpacked,
)
from bhushgpt.data.shards import (
    TAR_NAMES,
    UTF8,
    WINDOW,
    Shard,
    best_cut,
    needs_pylzma,
    packing_of,
)
from bhushgpt.files import megabytes
from bhushgpt.sources import (
    END_OF_TEXT,
    END_OF_TEXT_LINE,
    clean_gutenberg,
    has_gutenberg_markers,
    plain_lines,
)

PAGE_CHARACTERS = 4_000
LONGEST_LINE = 2  # a line of JSON may be so many times as long as a text
LONGEST_WORD = 1_000_000  # a tokenizer takes 50 bytes of memory for each letter of a word
_WORD = re.compile(r"\S++")


class Document(NamedTuple):
    """One text and the same text in UTF-8."""

    text: str
    data: bytes


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
            yield from from_parquet(shard, limits, skipped)
        elif shard.kind == "7z":
            yield from from_7z(Path(shard.file), limits, skipped)
        elif shard.kind == "text":
            for name in shard.members:
                yield from from_text_file(Path(shard.file) / name, shard, limits, skipped)
        elif shard.kind == "range":
            with shard.open() as stream:
                yield from from_text(stream, shard, limits, skipped)
        else:
            with shard.open() as packed:
                stream = unpacked(packed, shard.packing, limits)
                if shard.kind == "jsonl":
                    yield from from_json_lines(stream, limits, skipped, shard.field)
                else:
                    repeated = frozenset(place - shard.start for place in shard.repeated)
                    yield from from_tar(stream, limits, skipped, repeated)
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror or error})") from None


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


def _longest_word(text: str) -> int:
    return max(found.end() - found.start() for found in _WORD.finditer(text))


def too_long(limits: UnpackingLimits) -> str:
    """Return the words for a text above the limit."""
    return f"is longer than {megabytes(limits.member_bytes)}"


def from_texts(
    texts: list[str | bytes], limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield documents from strings, which may hold what UTF-8 cannot: half a surrogate pair."""
    for text in texts:
        try:
            data = text.encode("utf-8") if isinstance(text, str) else text
        except UnicodeEncodeError:
            skipped["is not UTF-8 text"] += 1
            continue
        if len(data) > limits.member_bytes:
            skipped[too_long(limits)] += 1
        elif found := document(data, skipped):
            yield found


# --- plain text files


def from_text_file(
    file: Path, shard: Shard, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the documents of a plain text file, which may be packed."""
    try:
        with file.open("rb") as packed:
            stream = unpacked(packed, packing_of(file.name), limits)
            if shard.encoding != UTF8:
                stream = io.BufferedReader(_InUTF8(stream, shard.encoding))
            yield from from_text(stream, shard, limits, skipped)
    except UnicodeDecodeError:
        skipped[f"is not text in {shard.encoding}"] += 1
    except (Damaged, OSError):  # a file on its own: the others in the folder are none the worse
        skipped["is damaged or cannot be read"] += 1


class _InUTF8(io.RawIOBase):
    """A text in another encoding as the bytes that it has in UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._ready = stream, b""
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ended = False
        while not self._ready and not ended:
            data = self._stream.read(1 << 16)
            ended = not data
            self._ready = self._decoder.decode(data, final=ended).encode("utf-8")
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def from_text(
    stream: BinaryIO, shard: Shard, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the documents of a text of any length."""
    paged = shard.paged or shard.kind == "range"
    for piece, is_last in text_pieces(stream, limits.member_bytes, shard.mark):
        paged = paged or not is_last  # too long for one document
        if found := document(piece, skipped):
            yield from _cut(found, shard.separator, paged, skipped)


def text_pieces(stream: BinaryIO, longest: int, mark: str) -> Iterator[tuple[bytes, bool]]:
    r"""Yield a text in pieces of at most so many bytes, and of each whether it is the last.

    Example:
        >>> list(text_pieces(io.BytesIO(b"one\ntwo\nthree"), 10, "***"))
        [(b'one\ntwo\n', False), (b'three', True)]
    """
    window = min(WINDOW, longest // 2)
    data = stream.read(longest + 1)
    while len(data) > longest:
        cut = longest - window + best_cut(data[longest - window : longest], mark)
        yield data[:cut], False
        data = data[cut:] + stream.read(cut)
    yield data, True


def _cut(whole: Document, separator: str, paged: bool, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the documents that a text holds, without Project Gutenberg's words around them."""
    text = whole.text
    parts: Iterable[str] = [text]
    if has_gutenberg_markers(text) and (book := clean_gutenberg(text)) != text:
        skipped["is the header and licence of a Project Gutenberg file"] += 1
        text, parts = book, [book]
    if separator:
        parts = [part.strip("\n") for part in text.split(separator)]
    elif len(found := END_OF_TEXT_LINE.split(text)) > 1:
        skipped[f"is a line {END_OF_TEXT}, which ends a document"] += len(found) - 1
        parts = found
    elif paged:
        parts = cut_pages(text)
    for part in parts:
        if part and not part.isspace():
            yield whole if part == whole.text else Document(part, part.encode("utf-8"))


def cut_pages(text: str, characters: int = PAGE_CHARACTERS) -> Iterator[str]:
    r"""Yield a text in pages of about so many characters, cut between lines; endless ones at words.

    Example:
        >>> list(cut_pages("one\ntwo\nthree\n", characters=6))
        ['one\ntwo\n', 'three\n']
    """
    page: list[str] = []
    length = 0
    for line in _lines(text, 10 * characters):
        page.append(line)
        length += len(line)
        if length >= characters:
            yield "".join(page)
            page, length = [], 0
    if "".join(page).strip():
        yield "".join(page)


def _lines(text: str, longest: int) -> Iterator[str]:
    """Yield the lines of a text, an endless one in pieces."""
    for line in text.splitlines(keepends=True):
        start = 0
        while len(line) - start > longest:
            cut = line.rfind(" ", start, start + longest) + 1 or start + longest
            yield line[start:cut]
            start = cut
        yield line[start:]


# --- tar, lines of JSON, parquet


def from_tar(
    stream: BinaryIO,
    limits: UnpackingLimits,
    skipped: Counter[str],
    repeated: frozenset[int] = frozenset(),
) -> Iterator[Document]:
    """Yield the pages of a tar: its .txt members, and those of the tars inside it.

    Args:
        stream: The archive.
        limits: What it may bring.
        skipped: Counts here what is left out, and why.
        repeated: Starts of members whose name stands in an earlier part of the same archive.
    """
    reader = TarReader(stream, limits)
    for entry in plain_files(reader, skipped):
        name = entry.name.lower()
        if entry.start in repeated:
            skipped[REPEATED] += 1
        elif name.endswith(TAR_NAMES):
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
    stream: BinaryIO, limits: UnpackingLimits, skipped: Counter[str], field: str = "text"
) -> Iterator[Document]:
    """Yield a field of each line."""
    longest = LONGEST_LINE * limits.member_bytes
    while line := stream.readline(longest + 1):
        if len(line) > longest:
            skipped[too_long(limits)] += 1
            while line and not line.endswith(b"\n"):
                line = stream.readline(longest)
        elif line.strip():
            yield from _from_line(line, field, limits, skipped)
    check_the_end(stream, skipped)


def _from_line(
    line: bytes, field: str, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        skipped["is not a line of JSON"] += 1
        return
    text = found.get(field) if isinstance(found, dict) else None
    if not isinstance(text, str):
        skipped[_no_field(field)] += 1
        return
    yield from from_texts([text], limits, skipped)


def from_parquet(
    shard: Shard, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield a column of one row group of a parquet file."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(shard.file, pre_buffer=False, buffer_size=1 << 20)
        rows = table.iter_batches(
            64, row_groups=[shard.start], columns=[shard.field], use_threads=False
        )
        for batch in rows:
            texts = [text for text in batch.column(0).to_pylist() if text is not None]
            skipped[_no_field(shard.field)] += batch.num_rows - len(texts)
            yield from from_texts(texts, limits, skipped)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Damaged(f"its parquet data is damaged ({_said(error)})") from None


def _no_field(field: str) -> str:
    return f'has no field "{field}"'


def check_the_end(stream: BinaryIO, skipped: Counter[str]) -> None:
    """Read a packed stream to its end, where its check sum stands; count what follows it."""
    inner = getattr(stream, "raw", None)
    if not isinstance(inner, Unpacked):
        return
    while inner.read(1 << 16):  # what a tar may be filled up with
        pass
    if inner.junk:
        skipped[JUNK] += 1


JUNK = "is followed by bytes that belong to no archive"


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# --- 7z, through pylzma where it is installed: it has to be compiled


BLOCK_BYTES = 64 * MIB  # what is unpacked at once where pieces cannot be had
PIECE = 1 << 12  # packed bytes; small, because they may unpack to 7,000 times as much
_LINK = 0o120000  # what Unix calls a link, in the upper half of the attributes


def from_7z(file: Path, limits: UnpackingLimits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the .txt members of a .7z archive.

    7z packs many files into one block. Blocks of the usual methods are streamed; those that cannot
    be are unpacked at once and must fit into 64 MiB.

    Raises:
        Damaged: If it is no .7z archive, is damaged, encrypted, or a block is too large.
    """
    needs_pylzma()
    seen: set[str] = set()
    with file.open("rb") as stream:
        for content, members in _blocks(stream, limits, skipped):
            for member in members:
                wanted = _wanted(member, seen, limits, skipped)
                seen.add(member.filename)
                data = _take(content, member.size, keep=wanted)
                if not wanted:
                    continue
                if member.digest is not None and zlib.crc32(data) != member.digest:
                    raise Damaged("a member of it does not fit its check sum")
                if page := document(data, skipped):
                    yield page


def _wanted(member: Any, seen: set[str], limits: UnpackingLimits, skipped: Counter[str]) -> bool:
    name, attributes = member.filename, getattr(member, "attributes", None) or 0
    reasons = {
        "is a symbolic link, not a file": (attributes >> 16) & 0o170000 == _LINK,
        "has a name that leads out of the archive": not is_safe_name(name),
        REPEATED: name in seen,
        "is of another kind than .txt": not name.lower().endswith(".txt"),
        too_long(limits): member.size > limits.member_bytes,
    }
    for reason, holds in reasons.items():
        if holds:
            skipped[reason] += 1
            return False
    return True


def _blocks(
    stream: BinaryIO, limits: UnpackingLimits, skipped: Counter[str]
) -> Iterator[tuple[BinaryIO, list[Any]]]:
    """Yield what each packed block unpacks to, and the members in the order in which they lie."""
    import py7zlib

    size = os.fstat(stream.fileno()).st_size
    try:
        archive = py7zlib.Archive7z(stream)
        members = archive.getmembers()
        end = archive.afterheader + archive.nextheaderofs + archive.nextheadersize
        streams = getattr(archive.header, "main_streams", None)
    except Exception as error:  # py7zlib stumbles over damage with errors of every kind
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Damaged(f"it is not a .7z archive, or it is damaged ({why})") from None
    if end < size:
        skipped[JUNK] += 1
    total = sum(member.size for member in members)
    if total > limits.total_bytes or total > limits.free_bytes + limits.ratio * size:
        raise Damaged(f"it is a bomb: {size:,} bytes would unpack to {total:,}")
    if len(members) > limits.members:
        raise Damaged(f"it has more than {limits.members:,} members")
    yield io.BytesIO(), [member for member in members if member.emptystream]
    if streams is None:
        return
    full = iter([member for member in members if not member.emptystream])
    start, packs = archive.afterheader + streams.packinfo.packpos, iter(streams.packinfo.packsizes)
    counts = streams.substreamsinfo.numunpackstreams
    for folder, count in zip(streams.unpackinfo.folders, counts, strict=True):
        packed = next(packs)  # of coders with several packed streams none is read here
        block = list(itertools.islice(full, count))
        content = _Pieces(_pieces(stream, folder.coders, start, packed, block))
        yield io.BufferedReader(content), block  # type: ignore[type-var]
        start += packed


def _pieces(
    stream: BinaryIO, coders: list[Any], start: int, packed: int, block: list[Any]
) -> Iterator[bytes]:
    """Yield what a block unpacks to."""
    import pylzma

    total = sum(member.size for member in block)
    whole: dict[bytes, Callable[..., bytes]] = {
        b"\x03\x03\x01\x03": lambda data, _: pylzma.bcj_x86_convert(data),
        b"\x03\x04\x01": lambda data, form: pylzma.ppmd_decompress(data, form[:5], total),
    }
    try:
        pieces = _read(stream, start, packed)
        for coder in coders:
            method, form = coder["method"], coder.get("properties")
            if method in (b"\x03\x01\x01", b"\x21"):  # LZMA, LZMA2
                lzma = pylzma.decompressobj(lzma2=method == b"\x21")
                lzma.decompress(form)
                pieces = map(lzma.decompress, pieces)
            elif method == b"\x04\x02\x02":
                pieces = map(bz2.BZ2Decompressor().decompress, pieces)
            elif method == b"\x04\x01\x08":
                pieces = map(zlib.decompressobj(-15).decompress, pieces)
            elif method in whole and total <= BLOCK_BYTES:
                pieces = iter([whole[method](b"".join(pieces), form)])
            elif method != b"\x00":  # a copy
                raise Damaged(
                    f"a block of {total:,} bytes in it is packed in a way that is not read, or "
                    "encrypted; pack it again with LZMA, the usual method"
                )
        yield from pieces
    except Damaged:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Damaged(f"a member of it is damaged ({why})") from None


def _read(stream: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    stream.seek(start)
    while data := stream.read(min(PIECE, size)):
        size -= len(data)
        yield data


class _Pieces(io.RawIOBase):
    """Pieces of any length as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._ahead = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ahead:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._ahead = memoryview(piece)
        data, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _take(content: BinaryIO, size: int, *, keep: bool) -> bytes:
    """Return the next bytes; those not to be kept are passed over."""
    kept = content.read(size) if keep else b""
    left = size - len(kept)
    while left and not keep and (passed := content.read(min(left, MIB))):
        left -= len(passed)
    if left:
        raise Damaged("it ends in the middle of a member: the copy was cut off")
    return kept
