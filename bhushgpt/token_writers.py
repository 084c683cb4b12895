"""Writing a token file: checked ids, and a file that is whole or not there.

Lesson: notebook 13.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from bhushgpt.errors import UserError
from bhushgpt.token_files import BUFFER, HEADER, header_bytes, token_type
from bhushgpt.tokenizers import Tokenizer


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
        >>> from bhushgpt.token_files import TokenFile
        >>> from bhushgpt.tokenizers import ByteTokenizer
        >>> file = Path(tempfile.mkdtemp()) / "hello.tokens"
        >>> with TokenWriter(file, ByteTokenizer()) as writer:
        ...     writer.write([72, 105])
        >>> TokenFile(file).tolist(), file.stat().st_size
        ([72, 105], 68)

    Lesson: notebook 13.
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
