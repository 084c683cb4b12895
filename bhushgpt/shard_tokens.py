"""One shard becomes two small token files and a record; the record is written last.

A shard whose record is there is done. One without a record was interrupted and is done again, so
nothing that is half there is ever used.

Lesson: notebook 13.
"""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bhushgpt.document_encoding import DocumentEncoder, is_held_out
from bhushgpt.document_readers import read_shard
from bhushgpt.documents import Document
from bhushgpt.files import write_atomically
from bhushgpt.preparation_plan import Plan
from bhushgpt.prepared_tokens import PARTS
from bhushgpt.token_files import HEADER, token_type
from bhushgpt.token_writers import TokenWriter
from bhushgpt.unpacking import Damaged

WORK = "parts"
GATHERED = 1 << 17  # ids that are written at once

Record = dict[str, Any]


def tokenize_shard(folder: Path, plan: Plan, encoder: DocumentEncoder, number: int) -> Record:
    """Read one shard, encode its documents, and store them under its number.

    A shard that is damaged or dangerous gives nothing: its record says why, and its files are
    empty. So whether a document is used never depends on how far somebody came before the damage.

    Args:
        folder: The output folder.
        plan: What to do.
        encoder: What to encode with.
        number: Which of the plan's shards.

    Returns:
        documents, text bytes and tokens of both parts, what was skipped, why it was refused.

    Lesson: notebook 13.
    """
    skipped: Counter[str] = Counter()
    try:
        pages = read_shard(plan.shards[number], plan.limits, skipped)
        return store_pages(folder, plan, encoder, number, pages, skipped)
    except Damaged as error:
        return store_pages(folder, plan, encoder, number, (), Counter(), str(error))


def store_pages(
    folder: Path,
    plan: Plan,
    encoder: DocumentEncoder,
    number: int,
    pages: Iterable[Document],
    skipped: Counter[str],
    refused: str | None = None,
) -> Record:
    """Encode the documents of a shard and store them and their record.

    Args:
        folder: The output folder.
        plan: What to do.
        encoder: What to encode with.
        number: Which of the plan's shards.
        pages: Its documents, in their order.
        skipped: What was left out of it; looked at when all pages have come.
        refused: Why the shard gives nothing.

    Lesson: notebook 13.
    """
    record = _tokenize(folder, plan, encoder, number, pages)
    record |= {"shard": plan.shards[number].name, "refused": refused}
    record["skipped"] = dict(sorted((+skipped).items()))
    write_atomically(_record_file(folder, number), json.dumps(record, indent=1).encode())
    return record


def _tokenize(
    folder: Path, plan: Plan, encoder: DocumentEncoder, number: int, pages: Iterable[Document]
) -> Record:
    """Write the token files of a shard's documents and return what there is to tell."""
    documents, text_bytes = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    files = {p: TokenWriter(part_file(folder, number, p), encoder.tokenizer) for p in PARTS}
    with ExitStack() as stack:
        gathered = {p: _Gathered(stack.enter_context(file)) for p, file in files.items()}
        for page in pages:
            part = PARTS[is_held_out(page.data, plan.held_out)]
            gathered[part].add(encoder(page.text))
            gathered[part].add(encoder.end)
            documents[part] += 1
            text_bytes[part] += len(page.data)
        for each in gathered.values():
            each.flush()
    return {
        "documents": documents,
        "text_bytes": text_bytes,
        "tokens": {part: file.count for part, file in files.items()},
        "sha256": {part: file.sha256 for part, file in files.items()},
    }


class _Gathered:
    """Collects the ids of many documents: writing each on its own costs time."""

    def __init__(self, writer: TokenWriter) -> None:
        self._writer, self._rows, self._count = writer, [], 0

    def add(self, ids: np.ndarray) -> None:
        self._rows.append(ids)
        self._count += len(ids)
        if self._count >= GATHERED:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._writer.write(np.concatenate(self._rows))
        self._rows, self._count = [], 0


def part_file(folder: Path, number: int, part: str) -> Path:
    """Return the token file of one part of one shard.

    Lesson: notebook 13.
    """
    return folder / WORK / f"{number:06}.{part}.tokens"


def joining_file(folder: Path, part: str) -> Path:
    """Return the file in which the shards' files are being joined.

    Lesson: notebook 13.
    """
    return folder / f".{part}.tokens.joining"


def _record_file(folder: Path, number: int) -> Path:
    return folder / WORK / f"{number:06}.json"


def read_record(folder: Path, number: int, vocab_size: int) -> Record | None:
    """Return the record of a shard that is done, or None if it has to be done (again).

    Its token files must have the right sizes; their content is compared when they are joined.

    Lesson: notebook 13.
    """
    try:
        record = json.loads(_record_file(folder, number).read_text(encoding="utf-8"))
        for part in PARTS:
            size = HEADER.size + record["tokens"][part] * token_type(vocab_size).itemsize
            if not _joined(folder, part) and part_file(folder, number, part).stat().st_size != size:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record


def _joined(folder: Path, part: str) -> bool:
    """Return whether joining has begun: then parts that went into the whole are gone."""
    return (folder / f"{part}.tokens").exists() or joining_file(folder, part).exists()


def forget(folder: Path, number: int) -> None:
    """Let a shard be done again.

    Lesson: notebook 13.
    """
    _record_file(folder, number).unlink(missing_ok=True)
