"""A corpus becomes a folder of prepared tokens, shard by shard; stopped anywhere, it goes on.

What a preparation will do, written down before it starts, so that it can be gone on with.

The end of a preparation: two token files, and a manifest that says what is in them.

The token files of all shards, in their order, as one file: gone on with wherever it stopped.

Each small file is removed once its ids are safe in the large one, so the disk holds the tokens
once, not twice.

One shard becomes two small token files and a record; the record is written last.

A shard whose record is there is done. One without a record was interrupted and is done again, so
nothing that is half there is ever used.

Worker processes: each takes the number of a shard, tokenises it, and says what it gave.

They are programs of their own (`python -m bhushgpt.data.preparation FOLDER`), not copies of the
process that starts them. So they load neither torch nor the caller's script, which
`multiprocessing` would run once more on Windows and macOS, where it starts afresh; a script
without `if __name__ == "__main__":` would start workers that start workers. And they end with the
process that started them, however that ends: its end of the pipe closes.

Lesson: notebook 14.
"""

import dataclasses
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Self

import numpy as np

from bhushgpt.data.archives import MIB, Damaged, UnpackingLimits
from bhushgpt.data.documents import Document, read_shard
from bhushgpt.data.prepared import (
    PARTS,
    PREPARED_MANIFEST,
    TOKENIZER,
    read_prepared_manifest,
    write_prepared_manifest,
)
from bhushgpt.data.shards import Finds, Shard
from bhushgpt.data.token_files import (
    HEADER,
    DocumentEncoder,
    TokenFile,
    TokenWriter,
    check_share,
    header_bytes,
    is_held_out,
    token_type,
)
from bhushgpt.errors import UserError
from bhushgpt.files import LOCK, check_room, lock_run, sha256, write_atomically
from bhushgpt.tokenizers import Tokenizer

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
    """Share of the documents that is kept for the examination."""
    shards: tuple[Shard, ...]
    skipped: dict[str, int]
    """What was left out already when the shards were looked for: reason to number."""
    refused: dict[str, str]
    """Files that cannot be used: name to reason."""
    limits: UnpackingLimits = dataclasses.field(default_factory=UnpackingLimits)

    def __post_init__(self) -> None:
        check_share(self.held_out)
        if not self.shards:
            reasons = "".join(f"\n- {name}: {why}" for name, why in self.refused.items())
            raise UserError(
                f"There is nothing to prepare in {self.title}: no file of a kind that can be "
                f"read.{reasons}"
            )

    @property
    def digest(self) -> str:
        """A fingerprint of the plan: the same wherever the files lie."""
        facts = dataclasses.asdict(self) | {"shards": [shard.identity() for shard in self.shards]}
        return sha256(json.dumps(facts, sort_keys=True).encode())

    def save(self, folder: Path) -> None:
        """Write the plan into a folder."""
        text = json.dumps(dataclasses.asdict(self), indent=1) + "\n"
        write_atomically(folder / PLAN, text.encode())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the plan in a folder.

        Raises:
            UserError: If it cannot be read.
        """
        try:
            data = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            shards = [
                Shard(**shard | {"members": tuple(shard["members"])})
                for shard in data.pop("shards")
            ]
            return cls(shards=tuple(shards), limits=UnpackingLimits(**data.pop("limits")), **data)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{folder / PLAN} is damaged ({type(error).__name__}). Remove the folder {folder} "
                "and prepare again."
            ) from None

    def bytes_needed(self, done: set[int] = frozenset()) -> int:  # type: ignore[assignment]
        """Return about how many bytes the token files of the shards that are left will have."""
        left = [shard for number, shard in enumerate(self.shards) if number not in done]
        text = sum(s.size * (UNPACKED_TO if is_packed(s) else 1.0) for s in left)
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


def is_packed(shard: Shard) -> bool:
    """Return whether a shard holds more text than it has bytes."""
    return bool(shard.packing) or shard.kind in ("parquet", "7z")


def check_room_for(plan: Plan, folder: Path, done: set[int]) -> None:
    """Refuse to start what will not fit on the disk.

    Raises:
        NoRoom: Saying how much is needed and how much is free.
    """
    check_room(folder, plan.bytes_needed(done) + 16 * MIB, f"Preparing {plan.title}")


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
    record = _tokenize_pages(folder, plan, encoder, number, pages)
    record |= {"shard": plan.shards[number].name, "refused": refused}
    record["skipped"] = dict(sorted((+skipped).items()))
    write_atomically(_record_file(folder, number), json.dumps(record, indent=1).encode())
    return record


def _tokenize_pages(
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
    """Return the token file of one part of one shard."""
    return folder / WORK / f"{number:06}.{part}.tokens"


def joining_file(folder: Path, part: str) -> Path:
    """Return the file in which the shards' files are being joined."""
    return folder / f".{part}.tokens.joining"


def _record_file(folder: Path, number: int) -> Path:
    return folder / WORK / f"{number:06}.json"


def read_record(folder: Path, number: int, vocab_size: int) -> Record | None:
    """Return the record of a shard that is done, or None if it has to be done (again).

    Its token files must have the right sizes; their content is compared when they are joined.
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
    """Let a shard be done again."""
    _record_file(folder, number).unlink(missing_ok=True)


SYNCED = 64 * MIB  # how much is copied before it is forced to the disk


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


def finish_folder(plan: Plan, tokenizer: Tokenizer, folder: Path, records: list[Record]) -> None:
    """Join what the shards gave and write the manifest.

    Raises:
        UserError: If one of the two sides has no document.
    """
    totals = {key: _sums(records, key) for key in ("documents", "text_bytes", "tokens")}
    if not all(totals["documents"].values()):
        raise UserError(_one_sided(plan, records, totals["documents"]))
    files = {}
    for part in PARTS:
        joined = TokenFile(join_shards(folder, part, records, tokenizer), tokenizer)
        found = {"tokens": len(joined), "sha256": joined.fingerprint()}
        files[joined.path.name] = {"bytes": joined.path.stat().st_size} | found
    skipped = _skipped(plan, records)
    refused = plan.refused | {r["shard"]: r["refused"] for r in records if r["refused"]}
    facts: dict[str, Any] = {
        "title": plan.title,
        "tokenizer": {"digest": tokenizer.digest, "vocab_size": tokenizer.vocab_size},
        "files": files,
        "documents": totals["documents"],
        "text_bytes": totals["text_bytes"],
        "held_out": plan.held_out,
        "shards": len(plan.shards),
        "skipped": dict(sorted(skipped.items())),
        "refused": refused,
        "plan": plan.digest,
    }
    write_prepared_manifest(folder, facts)


def _sums(records: list[Record], key: str) -> dict[str, int]:
    return {part: sum(record[key][part] for record in records) for part in PARTS}


def _skipped(plan: Plan, records: list[Record]) -> Counter[str]:
    total: Counter[str] = Counter(plan.skipped)
    for record in records:
        total.update(record["skipped"])
    return total


def _one_sided(plan: Plan, records: list[Record], documents: dict[str, int]) -> str:
    total = sum(documents.values())
    if not total:
        reasons = list(plan.refused.values()) + [r["refused"] for r in records if r["refused"]]
        skipped = _skipped(plan, records)
        reasons += [f"{count:,} times: it {why}" for why, count in skipped.items()]
        return f"No document of {plan.title} can be used: {'; '.join(reasons[:5])}."
    side = "held out" if documents["train"] else "left to train on"
    return (
        f"Of the {total:,} documents of {plan.title} none is {side} at a share of "
        f"{plan.held_out:g}. Take more documents or another --held-out, and a new folder."
    )


Answers = queue.SimpleQueue[tuple[int, dict[str, Any]]]


def work_with(workers: int, folder: Path, numbers: list[int]) -> Iterator[tuple[int, Record]]:
    """Tokenise shards in several processes; yield number and record of each as it is done.

    Args:
        workers: How many processes.
        folder: The output folder, with plan and tokenizer in it.
        numbers: The shards to do.

    Raises:
        UserError: If a worker says so, or ends without a word.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in numbers:
        todo.put(number)
    answers: Answers = queue.SimpleQueue()
    processes = [_start(folder) for _ in range(workers)]
    threads = [
        threading.Thread(target=_feed, args=(process, todo, answers), daemon=True)
        for process in processes
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in numbers:
            number, answer = answers.get()
            if "error" in answer:
                raise UserError(answer["error"])
            yield number, answer
    finally:  # also when the caller leaves the loop, or presses Ctrl-C
        for process in processes:
            process.kill()
        for process, thread in zip(processes, threads, strict=True):
            process.wait()
            if thread.ident is not None:
                thread.join()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bhushgpt.data.preparation", str(folder)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # In a session of their own, so that Ctrl-C reaches the first process only, which decides.
    # Found also where the package is not installed and was found from the current folder.
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(
        command, **pipes, env=environment, text=True, encoding="utf-8", start_new_session=True
    )


def _feed(process: subprocess.Popen[str], todo: queue.SimpleQueue[int], answers: Answers) -> None:
    """Give one worker shard after shard, and pass on what it answers."""
    assert process.stdin is not None and process.stdout is not None
    while True:
        try:
            number = todo.get_nowait()
        except queue.Empty:
            return
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            answer = json.loads(line)
        except (OSError, ValueError):  # it was killed: by us, or because the memory is full
            answer = {"error": _died(number)}
        answers.put((number, answer))
        if "error" in answer:
            return


def _died(number: int) -> str:
    return (
        f"The process that worked on shard {number} was ended from outside, perhaps because the "
        "memory is full. What is done is kept: run the same command again, with fewer --workers."
    )


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except OSError:  # what was still to be written cannot be, its reader is gone
        pass


def main(folder: Path) -> None:
    """Be a worker: read numbers from stdin, write one line of JSON for each to stdout."""
    # Loaded here, since the process that starts workers does not need them.
    from bhushgpt.data.prepared import TOKENIZER
    from bhushgpt.data.token_files import DocumentEncoder
    from bhushgpt.tokenizers import load_tokenizer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows has no sessions
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, numbers), daemon=True).start()
    plan, encoder = Plan.load(folder), DocumentEncoder(load_tokenizer(folder / TOKENIZER))
    while True:
        number = numbers.get()
        try:
            answer = tokenize_shard(folder, plan, encoder, number)
        except (UserError, OSError, MemoryError) as error:
            answer = {"error": f"{plan.shards[number].name}: {error or 'the memory is full'}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _listen(stream: IO[str], numbers: queue.SimpleQueue[int]) -> None:
    """Pass numbers on; when nobody is there any more to give them, end at once."""
    for line in stream:
        numbers.put(int(line))
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))


@dataclass(frozen=True)
class ShardDone:
    """What `prepare` yields after each shard."""

    number: int
    """Which shard of the plan."""
    record: Record
    """documents, text_bytes and tokens of both parts, skipped, refused."""
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
    folder = Path(folder).expanduser().absolute()
    if workers < 1:
        raise UserError(f"workers is {workers}; take 1 or more.")
    assert plan.tokenizer == tokenizer.digest, "the plan is of another tokenizer"
    if is_done(plan, folder):
        return
    _check_unused(folder)
    with lock_run(folder):
        start_folder(plan, tokenizer, folder)
        found = ((n, read_record(folder, n, plan.vocab_size)) for n in range(len(plan.shards)))
        records = {number: record for number, record in found if record}
        check_room_for(plan, folder, set(records))
        for number, record in list(records.items()):
            yield ShardDone(number, record, before=True)
        left = [number for number in range(len(plan.shards)) if number not in records]
        for number, record in _tokenize(plan, tokenizer, folder, left, workers):
            records[number] = record
            yield ShardDone(number, record, before=False)
        finish_folder(plan, tokenizer, folder, [records[number] for number in sorted(records)])
        clean_folder(folder)


def is_done(plan: Plan, folder: Path) -> bool:
    """Return whether the folder holds what this plan makes.

    Raises:
        UserError: If it holds prepared tokens of another plan.
    """
    if not (folder / PREPARED_MANIFEST).is_file():
        return False
    manifest = read_prepared_manifest(folder)
    if manifest.get("plan") != plan.digest:
        raise UserError(
            f"{folder} holds other prepared tokens ({manifest['title']}; another input, "
            "tokenizer or split). Name another folder, or remove this one first."
        )
    with lock_run(folder):
        clean_folder(folder)
    return True


def _check_unused(folder: Path) -> None:
    """Refuse a folder with other things in it: tokens get one of their own."""
    ours = {PLAN, WORK, LOCK, TOKENIZER, *(joining_file(folder, part).name for part in PARTS)}
    ours |= {f"{part}.tokens" for part in PARTS}
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder for the tokens.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    others = sorted(name for name in names - ours if not name.startswith("."))
    if others or (names - {LOCK} and PLAN not in names):
        raise UserError(
            f"{folder} is not empty and holds no preparation to go on with "
            f"({', '.join((others or sorted(names))[:3])}). Name a new folder for the tokens."
        )


def start_folder(plan: Plan, tokenizer: Tokenizer, folder: Path) -> None:
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


def _tokenize(
    plan: Plan, tokenizer: Tokenizer, folder: Path, numbers: list[int], workers: int
) -> Iterator[tuple[int, Record]]:
    if workers > 1 and len(numbers) > 1:
        yield from work_with(min(workers, len(numbers)), folder, numbers)
        return
    encoder = DocumentEncoder(tokenizer)
    for number in numbers:
        yield number, tokenize_shard(folder, plan, encoder, number)


def clean_folder(folder: Path) -> None:
    """Remove what only an unfinished preparation needs."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    (folder / PLAN).unlink(missing_ok=True)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what a run that was killed had begun to write."""
    for name in (PREPARED_MANIFEST, PLAN, TOKENIZER):
        for leftover in folder.glob(f".{name}.*"):
            leftover.unlink(missing_ok=True)
