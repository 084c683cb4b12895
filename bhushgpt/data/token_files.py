"""Token ids in a file that says what it holds, written whole, and read without being loaded.

A token file is a header of 64 bytes and then the ids, 2 bytes each (uint16) where the vocabulary
has at most 65,536 tokens, else 4 (uint32), the low byte first on every machine. The header names
the tokenizer by its digest and counts the ids, so a file of another tokenizer, a truncated one and
one that is no token file are told apart before a single id is used. A writer checks each id, and
nobody ever sees a half of its file. A document becomes ids in bounded memory, on its side of the
split, with its end marked.

Lesson: notebook 14.
"""

import hashlib
import mmap
import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from bhushgpt.errors import UserError
from bhushgpt.tokenizers import Tokenizer, end_of_text

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
    """
    if not 0 < vocab_size <= 2**32:
        raise UserError(f"A vocabulary has 1 to {2**32:,} tokens; this one has {vocab_size:,}.")
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def header_bytes(itemsize: int, vocab_size: int, count: int, digest: str) -> bytes:
    """Return the 64 bytes that a token file begins with.

    Example:
        >>> header_bytes(2, 256, 3, "00" * 32)[:8], len(header_bytes(2, 256, 3, "00" * 32))
        (b'BHUSHTOK', 64)
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


class TokenWriter:
    """Writes a token file of which nobody ever sees a half.

    The ids go to a hidden file beside the wanted one. At the end of the `with` block the count is
    entered, everything is forced to the disk, and the file takes its name; if the block is left by
    an error, the hidden file is removed.

    Args:
        path: The file to write.
        tokenizer: Whose ids they are.

    Example:
        >>> import tempfile
        >>> from bhushgpt.data.token_files import TokenFile
        >>> from bhushgpt.tokenizers import ByteTokenizer
        >>> file = Path(tempfile.mkdtemp()) / "hello.tokens"
        >>> with TokenWriter(file, ByteTokenizer()) as writer:
        ...     writer.write([72, 105])
        >>> TokenFile(file).tolist(), file.stat().st_size
        ([72, 105], 68)
    """

    def __init__(self, path: str | Path, tokenizer: Tokenizer) -> None:
        self.path = Path(path)
        self.vocab_size = tokenizer.vocab_size
        self.digest = tokenizer.digest
        self.dtype = token_type(tokenizer.vocab_size)
        self.count = 0
        """Ids written so far."""
        self._hash = hashlib.sha256()
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")

    @property
    def sha256(self) -> str:
        """The fingerprint of the ids written so far, without the header."""
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb", buffering=BUFFER)
        self._file.write(bytes(HEADER.size))
        return self

    def write(self, ids: Sequence[int] | np.ndarray) -> None:
        """Append ids.

        Raises:
            UserError: If one is not an id of the tokenizer; nothing is written then. (numpy would
                quietly store 70,000 in 16 bits as 4,464.)
        """
        numbers = np.asarray(ids)
        if not numbers.size:
            return
        if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise UserError(
                "A token file takes one row of whole numbers; what came has the type "
                f"{numbers.dtype} and the shape {numbers.shape}."
            )
        least, most = int(numbers.min()), int(numbers.max())
        if least < 0 or most >= self.vocab_size:
            raise UserError(
                f"The id {least if least < 0 else most:,} is not one of this tokenizer's, 0 to "
                f"{self.vocab_size - 1:,}, so it is not written to {self.path.name}. Encode the "
                "text with the tokenizer that the file was opened with."
            )
        data = numbers.astype(self.dtype).tobytes()
        self._hash.update(data)
        self._file.write(data)
        self.count += len(numbers)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                self._file.write(
                    header_bytes(self.dtype.itemsize, self.vocab_size, self.count, self.digest)
                )
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError:
            self._discard()
            raise
        if kind is not None:
            self._discard()
            return
        self._file.close()
        os.replace(self._partial, self.path)

    def _discard(self) -> None:
        try:
            self._file.close()
        finally:
            self._partial.unlink(missing_ok=True)


LONGEST_PIECE = 1 << 20  # characters that are encoded at once
# Between one line and the next, with no other white space around: there GPT-2's pattern always
# cuts, so encoding the two sides on their own gives the same ids.
_LINE_END = re.compile(r"(?<=\S)\n(?=\S)")


def is_held_out(data: bytes, share: float) -> bool:
    """Return whether a document is held out; it depends on its bytes alone.

    So the same text falls on the same side wherever it stands, twice or a hundred times, whatever
    the number of workers; a copy of a held-out page is never trained on.

    Args:
        data: The document in UTF-8.
        share: How many of all documents to hold out, 0 to 1.

    Example:
        >>> pages = [f"page {number}".encode() for number in range(1000)]
        >>> sum(is_held_out(page, 0.1) for page in pages)
        103
    """
    number = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return number < share * 2**64


class DocumentEncoder:
    """Encodes documents with a tokenizer, long ones in pieces.

    Args:
        tokenizer: Any of the course's.

    Example:
        >>> from bhushgpt.tokenizers import ByteTokenizer
        >>> encoder = DocumentEncoder(ByteTokenizer())
        >>> encoder("Hi").tolist(), encoder.end.tolist()
        ([72, 105], [10, 10])
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        end = end_of_text(tokenizer)
        self.end = np.array([end] if end is not None else tokenizer.encode("\n\n"))
        """What stands behind every document: the tokenizer's special token, else a blank line."""

    def __call__(self, text: str) -> np.ndarray:
        """Return the ids of a text, without its end mark.

        Raises:
            UserError: If the tokenizer cannot encode it.
        """
        # "<|endoftext|>" in a page is text like any other: this is never the special token.
        encode = self.tokenizer.encode_to_numpy
        if len(text) <= LONGEST_PIECE:
            return encode(text)
        return np.concatenate([encode(piece) for piece in pieces_to_encode(text)])


def pieces_to_encode(text: str, longest: int = LONGEST_PIECE) -> Iterator[str]:
    r"""Yield a text in pieces that can be encoded on their own.

    Example:
        >>> list(pieces_to_encode("one\ntwo\n\nthree\nfour", longest=8))
        ['one\n', 'two\n\nthree\n', 'four']
    """
    start, best = 0, 0
    for found in _LINE_END.finditer(text):
        if found.end() - start > longest and best > start:
            yield text[start:best]
            start = best
        best = found.end()
    if len(text) - start > longest and best > start:
        yield text[start:best]
        start = best
    yield text[start:]
