"""A shard: a piece of a corpus that can be read on its own, by any worker, in any order.

The shards of a corpus, found in files and folders, in the same order on every machine.

Lesson: notebook 14.
"""

import dataclasses
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bhushgpt.data.archives import PACKINGS, Damaged, TarReader, UnpackingLimits, plain_files
from bhushgpt.errors import UserError

TAR_NAMES = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tar.zst", ".xz", ".tgz", ".txz")
KINDS = ".tar .tar.xz .xz .parquet .jsonl (also .gz .xz .bz2 .zst) .7z .txt"


@dataclass(frozen=True)
class Shard:
    """A piece of a corpus."""

    name: str
    """What to call it in a message; the same on every machine."""
    file: str
    """The file it is in; of plain text files their folder."""
    kind: str
    """tar, jsonl, parquet, 7z or text."""
    packing: str = ""
    """xz, gz, bz2, zst or none."""
    start: int = 0
    """Where it begins in the file; of a parquet file, the number of the row group."""
    size: int = 0
    """Bytes on the disk."""
    members: tuple[str, ...] = ()
    """The plain text files."""

    def open(self) -> BinaryIO:
        """Return its bytes as a stream."""
        stream = Path(self.file).open("rb")
        stream.seek(self.start)
        return io.BufferedReader(_Slice(stream, self.size))  # type: ignore[return-value]

    def identity(self) -> dict[str, Any]:
        """Return what tells it from others, wherever its file lies."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "file"}


class _Slice(io.RawIOBase):
    """The next so many bytes of a file."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        self._left -= len(data)
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


MISSING = (
    "reading a .7z archive needs pylzma, which is not installed. It has to be compiled: with a C "
    "compiler on the machine, `pip install pylzma`. Or unpack it, and pack the files as .tar.xz."
)


def needs_pylzma() -> None:
    """Refuse a .7z archive on a machine without pylzma.

    Raises:
        UserError: Saying how to get it, or what to do without.
    """
    try:
        import py7zlib  # noqa: F401
    except ImportError:
        raise UserError(MISSING[0].upper() + MISSING[1:]) from None


FILES_A_SHARD = 500  # plain text files that make one shard


@dataclass
class Finds:
    """What was found in some places: shards to read, and what cannot be read."""

    shards: list[Shard]
    skipped: Counter[str]
    """Files and members left out, by reason."""
    refused: dict[str, str]
    """Files left out as a whole: name to reason."""


def find_shards(
    places: Sequence[str | Path], limits: UnpackingLimits | None = None, without: Path | None = None
) -> Finds:
    """Return the shards in files and folders, in an order that is the same everywhere.

    An unpacked tar of .xz archives, as OpenWebText has them, gives one shard an archive; a parquet
    file one a row group; plain text files one for every 500; any other file is one shard.

    Args:
        places: Files, or folders that are searched; links in a folder are not followed.
        limits: What an archive may bring.
        without: A folder that is not searched: the one that the tokens go to.

    Raises:
        UserError: If a place is not there or a file is of no known kind.
    """
    finds = Finds([], Counter(), {})
    for place in (Path(place).expanduser().absolute() for place in places):
        if place.is_dir():
            _search(place, finds, limits or UnpackingLimits(), without)
        elif not place.is_file():
            raise UserError(f"There is no file or folder {str(place)!r}.")
        elif kind_of(place.name) is None:
            raise UserError(f"{place.name} is of no kind that can be read. These can: {KINDS}.")
        elif kind_of(place.name) == "text":
            finds.shards.append(_of_texts(place.parent, [(place.name, place.stat().st_size)]))
        else:
            _add(place, place.name, finds, limits or UnpackingLimits())
    return finds


def _search(folder: Path, finds: Finds, limits: UnpackingLimits, without: Path | None) -> None:
    texts: list[tuple[str, int]] = []
    for name, size in sorted(
        _plain_files(folder, finds.skipped, without), key=lambda pair: _order(pair[0])
    ):
        kind = kind_of(name)
        if kind is None:
            finds.skipped["is of a kind that is not read"] += 1
        elif kind == "text":
            texts.append((name, size))
        else:
            _add(folder / name, name, finds, limits)
    for first in range(0, len(texts), FILES_A_SHARD):
        finds.shards.append(_of_texts(folder, texts[first : first + FILES_A_SHARD]))


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


def _order(name: str) -> list[tuple[int, str]]:
    """Sort numbers in names as numbers: shard 2 before shard 10."""
    return [
        (int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)
    ]


def _of_texts(folder: Path, texts: list[tuple[str, int]]) -> Shard:
    names = tuple(name for name, _ in texts)
    more = f" to {texts[-1][0]}" if len(texts) > 1 else ""
    size = sum(size for _, size in texts)
    return Shard(f"{texts[0][0]}{more}", str(folder), "text", size=size, members=names)


def _add(file: Path, name: str, finds: Finds, limits: UnpackingLimits) -> None:
    kind, packing, size = str(kind_of(name)), packing_of(name), file.stat().st_size
    try:
        if kind == "parquet":
            finds.shards += _row_groups(file, name)
        elif kind == "tar" and not packing:
            finds.shards += _inner_archives(file, name, finds, limits)
        else:
            if kind == "7z":
                needs_pylzma()
            finds.shards.append(Shard(name, str(file), kind, packing, size=size))
    except Damaged as error:
        finds.refused[name] = str(error)


def _row_groups(file: Path, name: str) -> list[Shard]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
    except (arrow.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise Damaged(
            f"it is not a whole parquet file: the download may be cut off ({why})"
        ) from None
    if "text" not in table.schema_arrow.names:
        raise Damaged('it has no column "text"')
    groups = table.num_row_groups
    size = file.stat().st_size // max(1, groups)
    return [Shard(f"{name}, rows {i}", str(file), "parquet", "", i, size) for i in range(groups)]


def _inner_archives(file: Path, name: str, finds: Finds, limits: UnpackingLimits) -> list[Shard]:
    """Return one shard for each archive in a tar; for a tar of pages, the tar itself."""
    found: list[Shard] = []
    pages, skipped = 0, Counter()
    size = file.stat().st_size
    with file.open("rb") as stream:
        try:
            for entry in plain_files(_SeekingReader(stream, limits, size), skipped):
                if entry.start + entry.size > size:
                    continue  # cut off: the reader says so next
                if entry.name.lower().endswith(".txt"):
                    pages += 1
                elif kind_of(entry.name) == "tar":
                    label, packing = f"{name}/{entry.name}", packing_of(entry.name)
                    found.append(Shard(label, str(file), "tar", packing, entry.start, entry.size))
                else:
                    skipped["is of another kind than .txt"] += 1
        except Damaged as error:
            if not found:
                raise
            # The archives before the damage are whole, and each has its own check sum.
            finds.refused[f"the rest of {name}"] = str(error)
    if pages:  # read from start to end, the archives in it too
        return [Shard(name, str(file), "tar", size=size)]
    finds.skipped.update(skipped)
    return found


class _SeekingReader(TarReader):
    """A reader that jumps over members instead of reading them."""

    def __init__(self, stream: BinaryIO, limits: UnpackingLimits, size: int) -> None:
        super().__init__(stream, limits)
        self._size = size

    def _skip(self, end: int) -> None:
        if end > self._size:
            raise Damaged("it ends in the middle of a member: the copy was cut off")
        self._stream.seek(end)
        self._position = end
