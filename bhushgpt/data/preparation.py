"""A corpus becomes a folder of prepared tokens, shard by shard; stopped anywhere, it goes on.

A *plan* says which shards are tokenised, with what, and how they are split. It is written down
first, so that the same call can go on with it. Each shard becomes two small token files and a
record, written last: a shard without a record was interrupted and is done again, so nothing that
is half there is ever used. At the end the small files are joined into one for each part, and each
is removed once its ids are safe in the large one, so the disk holds the tokens once, not twice.
The manifest comes last of all.

Shards are independent, so several processes may work on them.

Lesson: notebook 14.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, TypedDict

import msgspec
import numpy as np
import psutil

from bhushgpt.corpus import check_share
from bhushgpt.data.archives import MIB, Damaged, UnpackingLimits
from bhushgpt.data.documents import Document, read_shard
from bhushgpt.data.prepared import (
    MANIFEST_FILE,
    PARTS,
    TOKENIZER,
    WORK,
    read_tokens_manifest,
    write_tokens_manifest,
)
from bhushgpt.data.shards import KINDS, Finds, Shard
from bhushgpt.data.token_files import (
    HEADER,
    DocumentEncoder,
    TokenFile,
    TokenWriter,
    header_bytes,
    is_held_out,
    token_type,
)
from bhushgpt.environment import written_out
from bhushgpt.errors import UserError
from bhushgpt.files import LOCK, check_room, one_writer, own_names, sha256, write_atomically
from bhushgpt.tokenizers import Tokenizer, load_tokenizer

PLAN = "plan.json"
# For the room on the disk, rather too much than too little: what a packed text grows to, and how
# many tokens a byte of text gives.
UNPACKED_TO = 4.5
TOKENS_A_BYTE = ((256, 1.0), (10_000, 0.5), (2**32, 0.33))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which shards are tokenised, with what, and how they are split."""

    title: str
    """What the text is, for people."""
    tokenizer: str
    """The tokenizer's digest."""
    vocab_size: int
    held_out: float = 0.01
    """Share of the documents that is held out."""
    shards: tuple[Shard, ...]
    skipped: dict[str, int]
    """What was left out already when the shards were looked for: reason to number."""
    refused: dict[str, str]
    """Files that cannot be used: name to reason."""
    limits: UnpackingLimits = dataclasses.field(default_factory=UnpackingLimits)

    def __post_init__(self) -> None:
        check_share(self.held_out)
        if not self.shards:
            reasons = [f"{count:,} of them: it {why}" for why, count in self.skipped.items()]
            reasons += [f"{name}: {why}" for name, why in self.refused.items()]
            raise UserError(
                f"There is nothing to prepare in {self.title}: no file of a kind that can be "
                f"read. These can: {KINDS}.{''.join(f'{chr(10)}- {why}' for why in reasons)}"
            )

    @property
    def digest(self) -> str:
        """A fingerprint of the plan: the same wherever the files lie."""
        facts = dataclasses.asdict(self) | {"shards": [shard.identity() for shard in self.shards]}
        return sha256(json.dumps(facts, sort_keys=True).encode())

    def save(self, folder: Path) -> None:
        """Write the plan into a folder."""
        # Not with msgspec: a name of a file may hold bytes that are no text in any encoding.
        text = json.dumps(dataclasses.asdict(self), indent=1) + "\n"
        write_atomically(folder / PLAN, text.encode())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the plan in a folder.

        Raises:
            UserError: If it cannot be read.
        """
        try:
            return msgspec.convert(json.loads((folder / PLAN).read_text("utf-8")), cls)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder / PLAN} is damaged ({type(error).__name__}). Remove the folder {folder} "
                "and prepare again."
            ) from None

    def bytes_needed(self, done: Iterable[int] = ()) -> int:
        """Return about how many bytes the token files of the shards that are left will have."""
        done = set(done)
        left = [shard for number, shard in enumerate(self.shards) if number not in done]
        text = sum(shard.size * (UNPACKED_TO if shard.is_packed else 1.0) for shard in left)
        tokens = next(share for size, share in TOKENS_A_BYTE if self.vocab_size <= size)
        return int(text * tokens * token_type(self.vocab_size).itemsize)


def make_plan(
    finds: Finds,
    tokenizer: Tokenizer,
    title: str,
    *,
    held_out: float = 0.01,
    shards: int | None = None,
    limits: UnpackingLimits | None = None,
) -> Plan:
    """Return the plan for shards that were found.

    Args:
        finds: From `find_shards`.
        tokenizer: What to encode with.
        title: What the text is, for people.
        held_out: Share of the documents to hold out.
        shards: Only so many, from the first on; None for all.
        limits: What one archive may bring.

    Raises:
        UserError: If there is nothing to prepare, or a number cannot be used.
    """
    if shards is not None and shards < 1:
        raise UserError(f"shards is {shards}; take 1 or more, or leave it out for all of them.")
    return Plan(
        title=title,
        tokenizer=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        held_out=held_out,
        shards=tuple(finds.shards[:shards]),
        skipped=dict(sorted(finds.skipped.items())),
        refused=finds.refused,
        limits=limits or UnpackingLimits(),
    )


class Record(TypedDict):
    """What one shard gave; `documents`, `text_bytes`, `tokens`, `sha256` for each part."""

    shard: str
    documents: dict[str, int]
    text_bytes: dict[str, int]
    tokens: dict[str, int]
    sha256: dict[str, str]
    skipped: dict[str, int]
    refused: str | None


@dataclass(frozen=True)
class ShardDone:
    """What `prepare` yields after each shard."""

    number: int
    """Which shard of the plan."""
    record: Record
    before: bool
    """Whether it was done already when the command started."""

    @property
    def documents(self) -> int:
        """Documents of both parts."""
        return sum(self.record["documents"].values())


def prepare(
    plan: Plan, tokenizer: Tokenizer, folder: str | Path, workers: int = 1
) -> Generator[ShardDone, None, None]:
    """Tokenise a corpus into a folder, and yield after every shard.

    The caller drives the loop, may show progress, and may leave it: the same call goes on. The
    folder's content depends on the plan alone, not on the number of workers, nor on how often it
    was interrupted. Nothing is written outside the folder.

    Args:
        plan: From `make_plan`.
        tokenizer: The plan's tokenizer.
        folder: New, empty, or one that the same plan was started in.
        workers: Processes; 1 works in this one.

    Yields:
        What each shard gave, in the order in which they are done; those done before come first.

    Raises:
        UserError: If the folder is used otherwise, the disk has not enough room, or no document
            is left on one of the two sides.
    """
    folder = written_out(folder).absolute()
    if workers < 1:
        raise UserError(f"workers is {workers}; take 1 or more.")
    assert plan.tokenizer == tokenizer.digest, "the plan is of another tokenizer"
    if is_done(plan, folder):
        return
    _check_unused(folder)
    with one_writer(folder):
        start_preparation(plan, tokenizer, folder)
        found = ((n, read_record(folder, n, plan.vocab_size)) for n in range(len(plan.shards)))
        records = {number: record for number, record in found if record}
        needed = plan.bytes_needed(records) + 16 * MIB
        check_room(folder, needed, f"Preparing {plan.title}")
        for number, record in list(records.items()):
            yield ShardDone(number, record, before=True)
        left = [number for number in range(len(plan.shards)) if number not in records]
        for number, record in _tokenize(plan, tokenizer, folder, left, workers):
            records[number] = record
            yield ShardDone(number, record, before=False)
        finish_preparation(plan, tokenizer, folder, [records[number] for number in sorted(records)])
        clean_preparation(folder)


def is_done(plan: Plan, folder: Path) -> bool:
    """Return whether the folder holds what this plan makes.

    Raises:
        UserError: If it holds prepared tokens of another plan.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return False
    manifest = read_tokens_manifest(folder)
    if manifest["plan"] != plan.digest:
        raise UserError(
            f"{folder} holds other prepared tokens ({manifest['title']}; another input, "
            "encoding, tokenizer or split). Name another folder, or remove this one first."
        )
    with one_writer(folder):
        clean_preparation(folder)
    return True


def _check_unused(folder: Path) -> None:
    """Refuse a folder with other things in it: tokens get one of their own."""
    ours = {PLAN, WORK, LOCK, TOKENIZER, *(joining_file(folder, part).name for part in PARTS)}
    ours |= {f"{part}.tokens" for part in PARTS}
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder for the tokens.")
    names = own_names(folder)
    others = sorted(name for name in names - ours if not name.startswith("."))
    if others or (names - {LOCK} and PLAN not in names):
        raise UserError(
            f"{folder} is not empty and holds no preparation to go on with "
            f"({', '.join((others or sorted(names))[:3])}). Name a new folder for the tokens."
        )


def start_preparation(plan: Plan, tokenizer: Tokenizer, folder: Path) -> None:
    """Write plan and tokenizer into a folder, or see that those in it are the same.

    Raises:
        UserError: If the folder holds an unfinished preparation by another plan.
    """
    if (folder / PLAN).exists():
        old = Plan.load(folder)
        if old.digest != plan.digest:
            points = "; ".join(plan_differences(old, plan))
            raise UserError(
                f"{folder} holds an unfinished preparation of another kind ({points}). Give the "
                "command that it was started with, name another folder, or remove this one."
            )
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    for leftover in (folder / WORK).glob(".*"):  # of a run that was killed
        leftover.unlink(missing_ok=True)
    _sweep(folder)
    tokenizer.save(folder / TOKENIZER)
    plan.save(folder)  # again, since the files may lie elsewhere now


def plan_differences(old: Plan, new: Plan) -> list[str]:
    """Return in which points two plans differ, in words."""
    points: list[tuple[str, Any, Any]] = [
        ("tokenizer", old.tokenizer[:8], new.tokenizer[:8]),
        ("held-out share", old.held_out, new.held_out),
        ("shards", len(old.shards), len(new.shards)),
    ]
    found = [f"{name} {was} there, {now} now" for name, was, now in points if was != now]
    same = [s.identity() for s in old.shards] == [s.identity() for s in new.shards]
    if not same and len(old.shards) == len(new.shards):
        found.append("other files, or files of another size")
    return found or ["another title, or other limits"]


def clean_preparation(folder: Path) -> None:
    """Remove what only an unfinished preparation needs."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    (folder / PLAN).unlink(missing_ok=True)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what a run that was killed had begun to write."""
    for name in (MANIFEST_FILE, PLAN, TOKENIZER):
        for leftover in folder.glob(f".{name}.*"):
            leftover.unlink(missing_ok=True)


# --- one process, or several


def _tokenize(
    plan: Plan, tokenizer: Tokenizer, folder: Path, numbers: list[int], workers: int
) -> Iterator[tuple[int, Record]]:
    pool = _pool(min(workers, len(numbers))) if workers > 1 and len(numbers) > 1 else None
    if pool is not None:
        yield from tokenize_in_processes(pool, folder, numbers)
        return
    encoder = DocumentEncoder(tokenizer)
    for number in numbers:
        yield number, tokenize_shard(folder, plan, encoder, number)


def _pool(workers: int) -> Any:
    """Return processes to work in, or None on a system that has no semaphores for them."""
    from loky import ProcessPoolExecutor

    try:
        return ProcessPoolExecutor(workers, initializer=_end_with, initargs=(os.getpid(),))
    except (ImportError, OSError):  # /dev/shm is not there or not ours
        return None


def tokenize_in_processes(
    pool: Any, folder: Path, numbers: Sequence[int]
) -> Iterator[tuple[int, Record]]:
    """Tokenise shards in several processes; yield number and record of each as it is done.

    loky starts each as a program of its own, which loads neither torch nor the caller's script, so
    a script without `if __name__ == "__main__":` works everywhere.

    Args:
        pool: loky's processes; they are ended at the end.
        folder: The output folder, with plan and tokenizer in it.
        numbers: The shards to do.

    Raises:
        UserError: If a worker says so, or is ended from outside.
    """
    from loky import BrokenProcessPool, as_completed

    try:
        tasks = {pool.submit(_tokenize_in_worker, folder, number): number for number in numbers}
        for task in as_completed(tasks):
            yield tasks[task], task.result()  # type: ignore[index]
    except BrokenProcessPool:
        raise UserError(
            "A process that worked on a shard was ended from outside, perhaps because the memory "
            "is full. What is done is kept: run the same command again, with fewer --workers."
        ) from None
    finally:  # also when the caller leaves the loop, or presses Ctrl-C
        pool.shutdown(kill_workers=True)


def _end_with(parent: int) -> None:
    """In a worker: end when the process that started it has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which decides

    def watch() -> None:
        try:
            psutil.Process(parent).wait()
        finally:  # also if it had ended before we looked
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _tokenize_in_worker(folder: Path, number: int) -> Record:
    plan, encoder = _loaded(folder)
    try:
        return tokenize_shard(folder, plan, encoder, number)
    except (UserError, OSError, MemoryError) as error:
        reason = str(error) or "the memory is full"
        raise UserError(f"{plan.shards[number].name}: {reason}") from None


@functools.cache
def _loaded(folder: Path) -> tuple[Plan, DocumentEncoder]:
    return Plan.load(folder), DocumentEncoder(load_tokenizer(folder / TOKENIZER))


# --- one shard


GATHERED = 1 << 17  # ids that are written at once


def tokenize_shard(folder: Path, plan: Plan, encoder: DocumentEncoder, number: int) -> Record:
    """Read one shard, encode its documents, and store them under its number.

    A shard that is damaged or dangerous gives nothing: its record says why, and its files are
    empty. So whether a document is used never depends on how far somebody came before the damage.

    Args:
        folder: The output folder.
        plan: What to do.
        encoder: What to encode with.
        number: Which of the plan's shards.
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
    """
    documents: dict[str, int] = dict.fromkeys(PARTS, 0)
    text_bytes: dict[str, int] = dict.fromkeys(PARTS, 0)
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
    record = Record(
        shard=plan.shards[number].name,
        documents=documents,
        text_bytes=text_bytes,
        tokens={part: file.count for part, file in files.items()},
        sha256={part: file.sha256 for part, file in files.items()},
        skipped=dict(sorted((+skipped).items())),
        refused=refused,
    )
    write_atomically(_record_file(folder, number), json.dumps(record, indent=1).encode())
    return record


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
    """Return the token file of one part of one shard."""
    return folder / WORK / f"{number:06}.{part}.tokens"


def _record_file(folder: Path, number: int) -> Path:
    return folder / WORK / f"{number:06}.json"


def read_record(folder: Path, number: int, vocab_size: int) -> Record | None:
    """Return the record of a shard that is done, or None if it has to be done (again).

    Its token files must have the right sizes; their content is compared when they are joined.
    """
    try:
        record = msgspec.json.decode(_record_file(folder, number).read_bytes(), type=Record)
        for part in PARTS:
            size = HEADER.size + record["tokens"][part] * token_type(vocab_size).itemsize
            # Once joining has begun, parts that went into the whole are gone.
            joined = (folder / f"{part}.tokens").exists() or joining_file(folder, part).exists()
            if not joined and part_file(folder, number, part).stat().st_size != size:
                return None
    except (OSError, ValueError, KeyError):
        return None
    return record


# --- the end: two token files and the manifest


SYNCED = 64 * MIB  # how much is copied before it is forced to the disk


def finish_preparation(
    plan: Plan, tokenizer: Tokenizer, folder: Path, records: list[Record]
) -> None:
    """Join what the shards gave and write the manifest.

    Raises:
        UserError: If one of the two sides has no document.
    """
    documents = _sums([record["documents"] for record in records])
    skipped: Counter[str] = Counter(plan.skipped)
    for record in records:
        skipped.update(record["skipped"])
    refused = plan.refused | {r["shard"]: r["refused"] for r in records if r["refused"]}
    if not all(documents.values()):
        raise UserError(_one_sided(plan, documents, skipped, refused))
    files = {}
    for part in PARTS:
        joined = TokenFile(join_shards(folder, part, records, tokenizer), tokenizer)
        found = {"tokens": len(joined), "sha256": joined.fingerprint()}
        files[joined.path.name] = {"bytes": joined.path.stat().st_size} | found
    facts = {
        "title": plan.title,
        "tokenizer": {"digest": tokenizer.digest, "vocab_size": tokenizer.vocab_size},
        "files": files,
        "documents": documents,
        "text_bytes": _sums([record["text_bytes"] for record in records]),
        "held_out": plan.held_out,
        "shards": len(plan.shards),
        "skipped": dict(sorted(skipped.items())),
        "refused": refused,
        "plan": plan.digest,
    }
    write_tokens_manifest(folder, facts)


def _sums(counts: list[dict[str, int]]) -> dict[str, int]:
    return {part: sum(count[part] for count in counts) for part in PARTS}


def _one_sided(
    plan: Plan, documents: dict[str, int], skipped: Counter[str], refused: dict[str, Any]
) -> str:
    total = sum(documents.values())
    if not total:
        reasons = [*refused.values()]
        reasons += [f"{count:,} times: it {why}" for why, count in skipped.items()]
        field = any("has no field" in reason for reason in reasons)
        advice = " Of another field of theirs take the text with --text-field." if field else ""
        if any("not UTF-8" in reason for reason in reasons):
            advice += " Text in another encoding is read with --encoding, such as cp1252."
        return f"No document of {plan.title} can be used: {'; '.join(reasons[:5])}.{advice}"
    side = "held out" if documents["train"] else "left to train on"
    if total < 10:  # another share would help by chance only
        advice = (
            "A document is on one side as a whole, and so are its copies: take more documents, or "
            "say what stands between two of them in a file (--separator)."
        )
    else:
        share = min(0.5, 2 * plan.held_out) if documents["train"] else plan.held_out / 2
        advice = f"Take another --held-out, such as {share:g}."
    return (
        f"Of the {total:,} documents of {plan.title} none is {side} at a share of "
        f"{plan.held_out:g}. {advice} And name a new folder."
    )


def joining_file(folder: Path, part: str) -> Path:
    """Return the file in which the shards' files are being joined."""
    return folder / f".{part}.tokens.joining"


def join_shards(folder: Path, part: str, records: Sequence[Record], tokenizer: Tokenizer) -> Path:
    """Join one part of all shards into `<part>.tokens` and return that file.

    Raises:
        UserError: If a shard's file was damaged after it was written. It is then forgotten, and
            the same command makes it again.
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
                    _record_file(folder, number).unlink(missing_ok=True)
                    raise UserError(
                        f"{file.name} was changed or damaged after it was written. It was not "
                        "used. Run the same command again: this shard is made anew, the others "
                        "stay."
                    )
                safe_to_remove.append(file)
                copied += size
            elif os.fstat(whole.fileno()).st_size < end + size:
                raise UserError(
                    f"{file.name} is gone. Remove the folder {folder} and prepare again."
                )
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
