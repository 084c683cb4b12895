"""A corpus becomes a folder of prepared tokens, shard by shard; stopped anywhere, it goes on.

Lesson: notebook 13.
"""

import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from bhushgpt.document_encoding import DocumentEncoder
from bhushgpt.errors import UserError
from bhushgpt.preparation_plan import PLAN, Plan, check_disk, differences
from bhushgpt.preparation_result import finish
from bhushgpt.preparation_workers import work_with
from bhushgpt.prepared_tokens import MANIFEST, PARTS, TOKENIZER, read_manifest
from bhushgpt.run_locks import LOCK, lock_run
from bhushgpt.shard_tokens import WORK, Record, joining_file, read_record, tokenize_shard
from bhushgpt.tokenizers import Tokenizer


@dataclass(frozen=True)
class ShardDone:
    """What `prepare` yields after each shard.

    Lesson: notebook 13.
    """

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

    Lesson: notebook 13.
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
        check_disk(plan, folder, set(records))
        for number, record in list(records.items()):
            yield ShardDone(number, record, before=True)
        left = [number for number in range(len(plan.shards)) if number not in records]
        for number, record in _tokenize(plan, tokenizer, folder, left, workers):
            records[number] = record
            yield ShardDone(number, record, before=False)
        finish(plan, tokenizer, folder, [records[number] for number in sorted(records)])
        clean_folder(folder)


def is_done(plan: Plan, folder: Path) -> bool:
    """Return whether the folder holds what this plan makes.

    Raises:
        UserError: If it holds prepared tokens of another plan.

    Lesson: notebook 13.
    """
    if not (folder / MANIFEST).is_file():
        return False
    if read_manifest(folder).get("plan") != plan.digest:
        raise UserError(
            f"{folder} holds other prepared tokens ({read_manifest(folder)['title']}; another "
            "input, tokenizer or split). Name another folder, or remove this one first."
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

    Lesson: notebook 13.
    """
    if (folder / PLAN).exists():
        old = Plan.load(folder)
        if old.digest != plan.digest:
            points = "; ".join(differences(old, plan))
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
    """Remove what only an unfinished preparation needs.

    Lesson: notebook 13.
    """
    shutil.rmtree(folder / WORK, ignore_errors=True)
    (folder / PLAN).unlink(missing_ok=True)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what a run that was killed had begun to write."""
    for name in (MANIFEST, PLAN, TOKENIZER):
        for leftover in folder.glob(f".{name}.*"):
            leftover.unlink(missing_ok=True)
