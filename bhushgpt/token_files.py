"""A row of token ids in a file that says what it holds, read without being loaded.

A token file is a header of 64 bytes and then the ids, 2 bytes each (uint16) where the vocabulary
has at most 65,536 tokens, else 4 (uint32), the low byte first on every machine. The header names
the tokenizer by its digest and counts the ids, so a file of another tokenizer, a truncated one and
one that is no token file are told apart before a single id is used.

Lesson: notebook 13.
"""

import hashlib
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bhushgpt.errors import UserError
from bhushgpt.tokenizers import Tokenizer

MAGIC = b"BHUSHTOK"
VERSION = 1
# magic, version, bytes of an id, size of the vocabulary, number of ids, sha256 of the tokenizer
HEADER = struct.Struct("<8sIIQQ32s")
BUFFER = 1 << 20


def token_type(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest type that holds every id of a vocabulary: uint16 or uint32.

    Raises:
        UserError: If not even uint32 does.

    Example:
        >>> token_type(50_257).name, token_type(65_536).name, token_type(65_537).name
        ('uint16', 'uint16', 'uint32')

    Lesson: notebook 13.
    """
    if not 0 < vocab_size <= 2**32:
        raise UserError(f"A vocabulary has 1 to {2**32:,} tokens; this one has {vocab_size:,}.")
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def header_bytes(itemsize: int, vocab_size: int, count: int, digest: str) -> bytes:
    """Return the 64 bytes that a token file begins with.

    Example:
        >>> header_bytes(2, 256, 3, "00" * 32)[:8], len(header_bytes(2, 256, 3, "00" * 32))
        (b'BHUSHTOK', 64)

    Lesson: notebook 13.
    """
    return HEADER.pack(MAGIC, VERSION, itemsize, vocab_size, count, bytes.fromhex(digest))


class TokenFile(Sequence[int]):
    """A token file as a sequence: the ids stay on the disk until they are looked at.

    `tokens[5]` is a number, `tokens[5:9]` and `tokens[[5, 7]]` are arrays, and
    `np.asarray(tokens)` is a view of the whole file that copies nothing, so `Batches(tokens, ...)`
    reads the pages of the windows it cuts and no others.

    The operating system lends memory for the pages that were read and takes it back as soon as
    somebody needs it. `release()` gives it back at once.

    Args:
        path: A file that a `TokenWriter` wrote.
        tokenizer: If given, the file must hold this tokenizer's ids.

    Raises:
        UserError: If it is not there, not a token file, of another version or tokenizer, or not
            as long as its header says.

    Lesson: notebook 13.
    """

    def __init__(self, path: str | Path, tokenizer: Tokenizer | None = None) -> None:
        self.path = Path(path)
        self._read_header()
        if tokenizer is not None and tokenizer.digest != self.digest:
            raise UserError(
                f"{self.path.name} holds the ids of another tokenizer ({self.digest[:8]}..., "
                f"{self.vocab_size:,} tokens) than the one given ({tokenizer.digest[:8]}..., "
                f"{tokenizer.vocab_size:,} tokens). Its numbers would mean other text: take the "
                "tokenizer it was prepared with, or prepare the text again."
            )
        self._tokens = self._map()

    def _read_header(self) -> None:
        try:
            with self.path.open("rb") as file:
                start = file.read(HEADER.size)
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            why = error.strerror or str(error)
            raise UserError(f"The token file {self.path} cannot be read: {why}.") from None
        if len(start) < HEADER.size or not start.startswith(MAGIC):
            raise UserError(
                f"{self.path.name} is not a token file ({size:,} bytes, without the header that "
                "`prepare` writes). A bare row of numbers does not say which tokenizer made it."
            )
        _, version, itemsize, self.vocab_size, count, digest = HEADER.unpack(start)
        if version != VERSION:
            raise UserError(
                f"{self.path.name} has token file version {version}; this version of bhushgpt "
                f"reads version {VERSION}. Prepare the text again."
            )
        self.digest = digest.hex()
        self.dtype = np.dtype({2: "<u2", 4: "<u4"}.get(itemsize, "V0"))
        if not self.dtype.itemsize or token_type(self.vocab_size) != self.dtype:
            raise UserError(f"The header of {self.path.name} is damaged. Prepare the text again.")
        self._check_size(size, count)
        self._count: int = count

    def _check_size(self, size: int, count: int) -> None:
        expected = HEADER.size + count * self.dtype.itemsize
        if size != expected:
            what = "truncated" if size < expected else "longer than it should be"
            raise UserError(
                f"{self.path.name} is {what}: {size:,} bytes, but {count:,} ids of "
                f"{self.dtype.itemsize} bytes and the header make {expected:,}. It was not "
                "written to the end, or changed later. Prepare the text again."
            )

    def _map(self) -> np.ndarray:
        with self.path.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(self._mapped, "madvise"):
            # Windows lie anywhere: without this, the system reads up to megabytes around each.
            self._mapped.madvise(mmap.MADV_RANDOM)
        return np.frombuffer(self._mapped, self.dtype, self._count, HEADER.size)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        found = self._tokens[index]
        return int(found) if np.ndim(found) == 0 else found

    def __iter__(self) -> Iterator[int]:
        for start in range(0, self._count, BUFFER):
            yield from self._tokens[start : start + BUFFER].tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._tokens, dtype=dtype, copy=copy)

    def tolist(self) -> list[int]:
        """Return all ids as a list; of a large file take a slice first."""
        return self._tokens.tolist()

    def release(self) -> None:
        """Give the memory of the pages that were read back; they can be read again at any time."""
        if hasattr(self._mapped, "madvise"):  # not on Windows, which takes it back by itself
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def fingerprint(self) -> str:
        """Return the sha256 of the ids, without the header; it reads the whole file."""
        found = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(HEADER.size)
            while data := file.read(BUFFER):
                found.update(data)
        return found.hexdigest()
