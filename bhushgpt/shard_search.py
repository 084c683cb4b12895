"""The shards of a corpus, found in files and folders, in the same order on every machine.

Lesson: notebook 13.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bhushgpt.archives import TarReader, plain_files
from bhushgpt.errors import UserError
from bhushgpt.sevenzip import needs_pylzma
from bhushgpt.shards import KINDS, Shard, kind_of, packing_of
from bhushgpt.unpacking import Damaged, Limits

FILES_A_SHARD = 500  # plain text files that make one shard


@dataclass
class Finds:
    """What was found in some places: shards to read, and what cannot be read.

    Lesson: notebook 13.
    """

    shards: list[Shard]
    skipped: Counter[str]
    """Files and members left out, by reason."""
    refused: dict[str, str]
    """Files left out as a whole: name to reason."""


def find_shards(
    places: Sequence[str | Path], limits: Limits | None = None, without: Path | None = None
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

    Lesson: notebook 13.
    """
    finds = Finds([], Counter(), {})
    for place in (Path(place).expanduser().absolute() for place in places):
        if place.is_dir():
            _search(place, finds, limits or Limits(), without)
        elif not place.is_file():
            raise UserError(f"There is no file or folder {str(place)!r}.")
        elif kind_of(place.name) is None:
            raise UserError(f"{place.name} is of no kind that can be read. These can: {KINDS}.")
        elif kind_of(place.name) == "text":
            finds.shards.append(_of_texts(place.parent, [(place.name, place.stat().st_size)]))
        else:
            _add(place, place.name, finds, limits or Limits())
    return finds


def _search(folder: Path, finds: Finds, limits: Limits, without: Path | None) -> None:
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


def _add(file: Path, name: str, finds: Finds, limits: Limits) -> None:
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


def _inner_archives(file: Path, name: str, finds: Finds, limits: Limits) -> list[Shard]:
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

    def __init__(self, stream: BinaryIO, limits: Limits, size: int) -> None:
        super().__init__(stream, limits)
        self._size = size

    def _skip(self, end: int) -> None:
        if end > self._size:
            raise Damaged("it ends in the middle of a member: the copy was cut off")
        self._stream.seek(end)
        self._position = end
