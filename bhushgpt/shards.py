"""A shard: a piece of a corpus that can be read on its own, by any worker, in any order.

Lesson: notebook 13.
"""

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bhushgpt.unpacking import PACKINGS

TAR_NAMES = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tar.zst", ".xz", ".tgz", ".txz")
KINDS = ".tar .tar.xz .xz .parquet .jsonl (also .gz .xz .bz2 .zst) .7z .txt"


@dataclass(frozen=True)
class Shard:
    """A piece of a corpus.

    Lesson: notebook 13.
    """

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

    Lesson: notebook 13.
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

    Lesson: notebook 13.
    """
    ending = name.lower().rpartition(".")[2]
    ending = {"tgz": "gz", "txz": "xz"}.get(ending, ending)
    return ending if ending in PACKINGS else ""
