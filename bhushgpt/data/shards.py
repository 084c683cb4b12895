"""A corpus in shards: pieces that can be read on their own, by any worker, in any order.

They are found in files and folders, in the same order on every machine: an archive in a tar, a row
group of a parquet file, some hundred text files. A large file is cut into ranges of about 64 MB,
at a line or between two members, so that several workers share it and a kill loses one range.

Lesson: notebook 14.
"""

import codecs
import dataclasses
import io
import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from encodings.aliases import aliases
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from bhushgpt.data.archives import (
    BLOCK,
    MIB,
    PACKINGS,
    Damaged,
    TarReader,
    UnpackingLimits,
    plain_files,
)
from bhushgpt.environment import python_command, written_out
from bhushgpt.errors import UserError
from bhushgpt.files import look_alike
from bhushgpt.sources import END_OF_TEXT

TAR_NAMES = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tar.zst", ".xz", ".tgz", ".txz")
KINDS = ".tar .tar.xz .xz .parquet .jsonl (also .gz .xz .bz2 .zst) .7z .txt"
RANGE = 64 * MIB
FILES_A_SHARD = 500  # plain text files that make one shard, if they are not too large together
FEW = 100  # of so few text files each is cut into pages: with one novel none could be held out


@dataclass(frozen=True)
class Shard:
    """A piece of a corpus."""

    name: str
    """What to call it in a message; the same on every machine."""
    file: str
    """The file it is in; of plain text files their folder."""
    kind: str
    """tar, members (of a tar), jsonl, parquet, 7z, text (whole files) or range (of a text file)."""
    packing: str = ""
    """xz, gz, bz2, zst or none."""
    start: int = 0
    """Where it begins in the file; of a parquet file, the number of the row group."""
    size: int = 0
    """Bytes on the disk."""
    members: tuple[str, ...] = ()
    """The plain text files."""
    repeated: tuple[int, ...] = ()
    """Starts of members of a tar that have the name of an earlier one, in this shard or another."""
    field: str = "text"
    """Where in a line of JSON or a row of a table the text stands."""
    separator: str = ""
    """What stands between two documents of a text file; "" is a line `<|endoftext|>`."""
    paged: bool = False
    """Whether text files are cut into pages."""
    encoding: str = "utf-8"
    """What text files are written in."""

    @property
    def mark(self) -> str:
        """Where a text is best cut: before what separates documents."""
        return self.separator or f"\n{END_OF_TEXT}"

    @property
    def is_packed(self) -> bool:
        """Whether it holds more text than it has bytes."""
        return bool(self.packing) or self.kind in ("parquet", "7z")

    def open(self) -> BinaryIO:
        """Return its bytes as a stream; members of a tar with the end that makes them a tar."""
        stream = Path(self.file).open("rb")
        stream.seek(self.start)
        end = bytes(2 * BLOCK) if self.kind == "members" else b""
        return io.BufferedReader(_Slice(stream, self.size, end))  # type: ignore[return-value]

    def identity(self) -> dict[str, Any]:
        """Return what tells it from others, wherever its file lies."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "file"}


class _Slice(io.RawIOBase):
    """The next so many bytes of a file, and a few more behind them."""

    def __init__(self, stream: BinaryIO, size: int, then: bytes) -> None:
        self._stream, self._left, self._then = stream, size, then

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        self._left -= len(data)
        if not data and not self._left:
            data, self._then = self._then[: len(buffer)], self._then[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def kind_of(name: str) -> str | None:
    """Return how a file of this name is read, or None.

    Example:
        >>> [kind_of(name) for name in ("a.tar", "a-1_data.xz", "b.jsonl.zst", "c.txt.gz", "d.jpg")]
        ['tar', 'tar', 'jsonl', 'text', None]
    """
    name = name.lower()
    plain = name.rpartition(".")[0] if packing_of(name) else name
    for kind, ending in (("jsonl", ".jsonl"), ("text", ".txt"), ("tar", ".tar")):
        if plain.endswith(ending):
            return kind
    if name.endswith(TAR_NAMES):
        return "tar"
    return {"parquet": "parquet", "7z": "7z"}.get(name.rpartition(".")[2])


def packing_of(name: str) -> str:
    """Return how a file of this name is packed: xz, gz, bz2, zst or "".

    Example:
        >>> packing_of("a.jsonl.zst"), packing_of("a.tgz"), packing_of("a.txt")
        ('zst', 'gz', '')
    """
    ending = name.lower().rpartition(".")[2]
    ending = {"tgz": "gz", "txz": "xz"}.get(ending, ending)
    return ending if ending in PACKINGS else ""


def printable(name: str) -> str:
    r"""Return a file's name as text that can be printed and stored, whatever bytes it has.

    Example:
        >>> printable("donn\udce9es.txt"), printable("données.txt")
        ('donn\\udce9es.txt', 'données.txt')
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass
class Finds:
    """What was found in some places: shards to read, and what cannot be read."""

    shards: list[Shard]
    skipped: Counter[str]
    """Files and members left out, by reason."""
    refused: dict[str, str]
    """Files left out as a whole: name to reason."""


def find_shards(
    places: Sequence[str | Path],
    limits: UnpackingLimits | None = None,
    without: Path | None = None,
    *,
    field: str = "text",
    separator: str = "",
    encoding: str = "utf-8",
) -> Finds:
    """Return the shards in files and folders, in an order that is the same everywhere.

    An unpacked tar of .xz archives, as OpenWebText has them, gives one shard an archive; a parquet
    file one a row group; plain text files one for every 500; any other file is one shard, or
    several if it is large and not packed.

    Args:
        places: Files, or folders that are searched; links in a folder are not followed.
        limits: What an archive may bring.
        without: A folder that is not searched: the one that the tokens go to.
        field: Where in a line of JSON or a row of a table the text stands.
        separator: What stands between two documents of a text file; if left out, a line
            `<|endoftext|>` does.
        encoding: What plain text files are written in, by the name that Python knows it by. What is
            not UTF-8 is read from its beginning to its end by one worker.

    Raises:
        UserError: If a place is not there, a file is of no known kind, or nothing is encoded so.
    """
    encoding = known_encoding(encoding)
    finds, limits = Finds([], Counter(), {}), limits or UnpackingLimits()
    texts = 0
    for place in (written_out(place).absolute() for place in places):
        if place.is_dir():
            found = sorted(_plain_files(place, finds.skipped, without), key=_by_number)
            folder = place
        else:
            _check_file(place)
            found, folder = [(place.name, place.stat().st_size)], place.parent
        plain = [(name, size) for name, size in found if kind_of(name) == "text"]
        for name, _ in found:
            if kind_of(name) is None:
                ending = Path(name).suffix
                finds.skipped[f"is of a kind that is not read ({ending or 'no ending'})"] += 1
            elif kind_of(name) != "text":
                _add(folder / name, printable(name), finds, limits, field)
        mark = separator or f"\n{END_OF_TEXT}"
        finds.shards += _text_shards(folder, plain, mark, cut=encoding == UTF8)
        texts += len(plain)
    options = {"field": field, "separator": separator, "paged": texts < FEW, "encoding": encoding}
    finds.shards = [dataclasses.replace(shard, **options) for shard in finds.shards]
    return finds


UTF8 = "utf-8"
OFTEN = "utf-8 utf-16 cp1252 cp1251 koi8-r gbk big5 shift_jis euc-kr mac_roman".split()


def known_encoding(name: str) -> str:
    """Return Python's own name of an encoding.

    Raises:
        UserError: If there is none of that name.

    Example:
        >>> known_encoding("Windows-1251"), known_encoding("UTF8")
        ('cp1251', 'utf-8')
    """
    try:
        found = codecs.lookup(name).name
        "a".encode(found)  # base64 is none of those for text
    except (LookupError, ValueError, UnicodeError):
        near = partial(get_close_matches, name.lower(), n=1)
        close = near(OFTEN) or near(aliases)
        question = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"There is no encoding {name!r}.{question} Some that are met: {', '.join(OFTEN)}."
        ) from None
    return found


def _check_file(place: Path) -> None:
    """Refuse a place that is no file, or of no known kind."""
    if not place.exists():
        raise UserError(f"There is no file or folder {str(place)!r}.{look_alike(place)}")
    if not place.is_file():
        raise UserError(
            f"{place} is a pipe or a device, and what comes out of it can be read only once. Save "
            "it to a file, and prepare that."
        )
    if kind_of(place.name) is None:
        raise UserError(f"{place.name} is of no kind that can be read. These can: {KINDS}.")


def _plain_files(
    folder: Path, skipped: Counter[str], without: Path | None
) -> Iterator[tuple[str, int]]:
    """Yield name and size of the files below a folder; links and devices are counted."""
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [n for n in folders if not (here / n).is_symlink() and here / n != without]
        for name in names:
            path = here / name
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                yield path.relative_to(folder).as_posix(), found.st_size
            else:
                skipped["is a link or a device, not a file"] += 1


def _by_number(found: tuple[str, int]) -> list[tuple[int, str]]:
    """Sort numbers in names as numbers: shard 2 before shard 10."""
    pieces = re.split(r"(\d+)", found[0])
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]


# --- one file: a shard, or several


def _add(file: Path, name: str, finds: Finds, limits: UnpackingLimits, field: str) -> None:
    kind, packing, size = str(kind_of(name)), packing_of(name), file.stat().st_size
    try:
        if kind == "parquet":
            finds.shards += _row_groups(file, name, field)
        elif kind == "tar" and not packing:
            finds.shards += _in_tar(file, name, finds, limits)
        elif kind == "jsonl" and not packing:
            for start, length in _line_ranges(file, size):
                label = name if length == size else f"{name}, from byte {start:,}"
                finds.shards.append(Shard(label, str(file), kind, "", start, length))
        else:
            if kind == "7z":
                needs_pylzma()
            finds.shards.append(Shard(name, str(file), kind, packing, size=size))
    except Damaged as error:
        finds.refused[name] = str(error)


def _text_shards(
    folder: Path, texts: list[tuple[str, int]], mark: str, cut: bool
) -> Iterator[Shard]:
    """Yield shards of many text files, and of a large one, if it may be cut, its ranges."""
    group: list[str] = []
    total = 0
    for name, size in [*texts, ("", 0)]:
        large = cut and size > RANGE and not packing_of(name)
        full = len(group) == FILES_A_SHARD or total + size > RANGE
        if group and (large or full or not name):
            more = f" to {printable(group[-1])}" if len(group) > 1 else ""
            label = f"{printable(group[0])}{more}"
            yield Shard(label, str(folder), "text", size=total, members=tuple(group))
            group, total = [], 0
        if large:
            for start, length in _text_ranges(folder / name, size, mark):
                label = f"{printable(name)}, from byte {start:,}"
                yield Shard(label, str(folder / name), "range", "", start, length)
        elif name:
            group.append(name)
            total += size


def _line_ranges(file: Path, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of ranges that end with a line, each of RANGE bytes or a little more.

    Not less: a line that is too long is counted once, so it must lie in one range.
    """
    start = 0
    with file.open("rb") as stream:
        while start + RANGE < size:
            stream.seek(start + RANGE - 1)
            while (line := stream.readline(MIB)) and not line.endswith(b"\n"):
                pass
            yield start, stream.tell() - start
            start = stream.tell()
    if start < size or not size:
        yield start, size - start


WINDOW = MIB  # how far before its end a piece of text may be cut


def _text_ranges(file: Path, size: int, mark: str) -> Iterator[tuple[int, int]]:
    """Yield start and length of ranges of at most RANGE bytes."""
    start, window = 0, min(WINDOW, RANGE // 2)
    with file.open("rb") as stream:
        while size - start > RANGE:
            stream.seek(start + RANGE - window)
            end = start + RANGE - window + best_cut(stream.read(window), mark)
            yield start, end - start
            start = end
    yield start, size - start


def best_cut(data: bytes, mark: str) -> int:
    r"""Return where text is best cut: before a mark or a book, else behind a line, else a word.

    Example:
        >>> best_cut(b"one\ntwo\n***\nthree\nfour", "\n***"), best_cut(b"one\ntwo", "\n***")
        (8, 4)
    """
    for wanted in (mark.encode(), b"\n*** START OF ", b"\n", b" "):
        if (at := data.rfind(wanted, 1)) > 0:
            return at + (wanted[0] in b"\n ")
    end = len(data)
    while end > 1 and data[end - 1] & 0xC0 == 0x80:  # in the middle of a letter
        end -= 1
    return max(1, end - 1)


def _row_groups(file: Path, name: str, field: str) -> list[Shard]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
    except (arrow.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise Damaged(
            f"it is not a whole parquet file: the download may be cut off ({why})"
        ) from None
    schema = table.schema_arrow
    good = [column.name for column in schema if _holds_text(column.type)]
    if field not in good:
        there = field in schema.names
        what = f"holds {schema.field(field).type}, not text" if there else "is not in it"
        others = f"; take one of its columns of text with --text-field: {', '.join(good)}"
        raise Damaged(f'the column "{field}" {what}{others if good else ""}')
    groups = table.num_row_groups
    size = file.stat().st_size // max(1, groups)
    return [Shard(f"{name}, rows {i}", str(file), "parquet", "", i, size) for i in range(groups)]


def _holds_text(kind: Any) -> bool:
    """Return whether a column is one of strings; Spark, Hive and Impala store them as bytes."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    known = (types.is_string, types.is_large_string, types.is_string_view)
    known += (types.is_binary, types.is_large_binary, types.is_binary_view)
    return any(is_one(kind) for is_one in known)


def _in_tar(file: Path, name: str, finds: Finds, limits: UnpackingLimits) -> list[Shard]:
    """Return one shard for each archive in a tar; of a tar of pages, ranges of its members."""
    archives: list[Shard] = []
    ends, repeated, skipped = [0], [], Counter()
    pages, size = 0, file.stat().st_size
    with file.open("rb") as stream:
        reader = _SeekingReader(stream, limits, size)
        try:
            for entry in plain_files(reader, skipped, repeated):
                if entry.start + entry.size > size:
                    continue  # cut off: the reader says so next
                if entry.name.lower().endswith(".txt"):
                    pages += 1
                elif kind_of(entry.name) == "tar":
                    label = f"{name}/{printable(entry.name)}"
                    packing = packing_of(entry.name)
                    archives.append(
                        Shard(label, str(file), "tar", packing, entry.start, entry.size)
                    )
                else:
                    skipped["is of another kind than .txt"] += 1
                if entry.end - ends[-1] >= RANGE:
                    ends.append(entry.end)
        except Damaged as error:
            if pages or not archives:
                raise
            # The archives before the damage are whole, and each has its own check sum.
            finds.refused[f"the rest of {name}"] = str(error)
    if not pages:
        finds.skipped.update(skipped)
        return archives
    ends.append(reader.position - BLOCK)  # before the block of zeros
    if len(ends) == 2:
        return [Shard(name, str(file), "tar", size=size)]
    return [
        Shard(
            f"{name}, from byte {start:,}",
            str(file),
            "members",
            start=start,
            size=end - start,
            repeated=tuple(place for place in repeated if start < place <= end),
        )
        for start, end in itertools.pairwise(ends)
        if end > start
    ]


class _SeekingReader(TarReader):
    """A reader that jumps over members instead of reading them."""

    def __init__(self, stream: BinaryIO, limits: UnpackingLimits, size: int) -> None:
        super().__init__(stream, limits)
        self._size = size

    def _skip(self, end: int) -> None:
        if end > self._size:
            raise Damaged("it ends in the middle of a member: the copy was cut off")
        self._stream.seek(end)
        self.position = end


MISSING = (
    "Reading a .7z archive needs pylzma, which is not installed. Unpack it, and pack the files as "
    ".tar.xz; or, with a C compiler on the machine, since it has to be compiled:\n  "
)


def needs_pylzma() -> None:
    """Refuse a .7z archive on a machine without pylzma.

    Raises:
        UserError: Saying how to get it, or what to do without.
    """
    try:
        import py7zlib  # noqa: F401
    except ImportError:
        raise UserError(MISSING + python_command("-m", "pip", "install", "pylzma")) from None
