"""The token files of all shards, in their order, as one file: gone on with wherever it stopped.

Each small file is removed once its ids are safe in the large one, so the disk holds the tokens
once, not twice.

Lesson: notebook 13.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from bhushgpt.errors import UserError
from bhushgpt.shard_tokens import Record, forget, joining_file, part_file
from bhushgpt.token_files import HEADER, header_bytes, token_type
from bhushgpt.tokenizers import Tokenizer
from bhushgpt.unpacking import MIB

SYNCED = 64 * MIB  # how much is copied before it is forced to the disk


def join(folder: Path, part: str, records: Sequence[Record], tokenizer: Tokenizer) -> Path:
    """Join one part of all shards into `<part>.tokens` and return that file.

    Raises:
        UserError: If a shard's file was damaged after it was written. It is then forgotten, and
            the same command makes it again.

    Lesson: notebook 13.
    """
    final, partial = folder / f"{part}.tokens", joining_file(folder, part)
    if final.exists():
        return final
    itemsize = token_type(tokenizer.vocab_size).itemsize
    with partial.open("r+b" if partial.exists() else "w+b") as whole:
        end, copied, safe_to_remove = HEADER.size, 0, []
        for number, record in enumerate(records):
            size = record["tokens"][part] * itemsize
            file = part_file(folder, number, part)
            if file.exists():
                whole.seek(end)
                if _copy(file, whole) != record["sha256"][part]:
                    forget(folder, number)
                    raise UserError(_changed(file))
                safe_to_remove.append(file)
                copied += size
            elif os.fstat(whole.fileno()).st_size < end + size:
                raise UserError(_lost(file, folder))
            end += size
            if copied > SYNCED:
                _remove(whole, safe_to_remove)
                copied = 0
        whole.truncate(end)
        whole.seek(0)
        count = (end - HEADER.size) // itemsize
        whole.write(header_bytes(itemsize, tokenizer.vocab_size, count, tokenizer.digest))
        _remove(whole, safe_to_remove)
    os.replace(partial, final)
    return final


def _copy(file: Path, whole: BinaryIO) -> str:
    """Append the ids of a shard's file; return their sha256."""
    found = hashlib.sha256()
    with file.open("rb") as source:
        source.seek(HEADER.size)
        while data := source.read(MIB):
            found.update(data)
            whole.write(data)
    return found.hexdigest()


def _remove(whole: BinaryIO, files: list[Path]) -> None:
    """Force what was copied to the disk, then remove what it was copied from."""
    whole.flush()
    os.fsync(whole.fileno())
    for file in files:
        file.unlink()
    files.clear()


def _changed(file: Path) -> str:
    return (
        f"{file.name} was changed or damaged after it was written. It was not used. Run the same "
        "command again: this shard is made anew, the others stay."
    )


def _lost(file: Path, folder: Path) -> str:
    return f"{file.name} is gone. Remove the folder {folder} and prepare again."
