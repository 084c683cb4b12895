"""The documents of a shard, whatever it is: a tar of pages, lines of JSON, a table, plain files.

Everything is streamed: of an archive of any size, one document is in memory at a time.

Lesson: notebook 13.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bhushgpt.archives import TarReader, plain_files
from bhushgpt.documents import Document, document, from_file, from_texts, too_long
from bhushgpt.sevenzip import from_7z
from bhushgpt.shards import TAR_NAMES, Shard, packing_of
from bhushgpt.unpacking import Damaged, Limits, Unpacked, unpacked

LONGEST_LINE = 2  # a line of JSON may be so many times as long as a text


def read_shard(shard: Shard, limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the documents of a shard, always in the same order.

    Args:
        shard: What to read.
        limits: What it may bring.
        skipped: Counts here what is left out, and why.

    Raises:
        Damaged: If it cannot be trusted as a whole.

    Lesson: notebook 13.
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


def from_text_file(file: Path, limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the one document of a plain text file, which may be packed.

    Lesson: notebook 13.
    """
    try:
        with file.open("rb") as stream:
            yield from from_file(unpacked(stream, packing_of(file.name), limits), limits, skipped)
    except (Damaged, OSError):  # a file on its own: the others in the folder are none the worse
        skipped["is damaged or cannot be read"] += 1


def from_tar(stream: BinaryIO, limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the pages of a tar: its .txt members, and those of the tars inside it.

    Lesson: notebook 13.
    """
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
    finish(stream, skipped)


def from_json_lines(stream: BinaryIO, limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
    """Yield the field "text" of each line.

    Lesson: notebook 13.
    """
    longest = LONGEST_LINE * limits.member_bytes
    while line := stream.readline(longest + 1):
        if len(line) > longest:
            skipped[too_long(limits)] += 1
            while line and not line.endswith(b"\n"):
                line = stream.readline(longest)
            continue
        if line.strip():
            yield from _from_line(line, limits, skipped)
    finish(stream, skipped)


def _from_line(line: bytes, limits: Limits, skipped: Counter[str]) -> Iterator[Document]:
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
    file: Path, row_group: int, limits: Limits, skipped: Counter[str]
) -> Iterator[Document]:
    """Yield the column "text" of one row group of a parquet file.

    Lesson: notebook 13.
    """
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


def finish(stream: BinaryIO, skipped: Counter[str]) -> None:
    """Read a packed stream to its end, where its check sum stands; count what follows it.

    Lesson: notebook 13.
    """
    inner = getattr(stream, "raw", None)
    if not isinstance(inner, Unpacked):
        return
    while inner.read(1 << 16):  # what a tar may be filled up with
        pass
    if inner.junk:
        skipped["is followed by bytes that belong to no archive"] += 1


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
