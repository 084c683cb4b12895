"""What a preparation will do, written down before it starts, so that it can be gone on with.

Lesson: notebook 13.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bhushgpt.disk_space import check_room
from bhushgpt.document_encoding import check_share
from bhushgpt.errors import UserError
from bhushgpt.files import sha256, write_atomically
from bhushgpt.shard_search import Finds
from bhushgpt.shards import Shard
from bhushgpt.token_files import token_type
from bhushgpt.tokenizers import Tokenizer
from bhushgpt.unpacking import MIB, Limits

PLAN = "plan.json"
# For the room on the disk, rather too much than too little: what a packed text grows to, and how
# many tokens a byte of text gives.
UNPACKED_TO = 4.5
TOKENS_A_BYTE = ((256, 1.0), (10_000, 0.5), (2**32, 0.33))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which shards are tokenised, with what, and how they are split.

    Lesson: notebook 13.
    """

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
    limits: Limits = dataclasses.field(default_factory=Limits)

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
            return cls(shards=tuple(shards), limits=Limits(**data.pop("limits")), **data)
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
    limits: Limits | None = None,
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

    Lesson: notebook 13.
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
        limits=limits or Limits(),
    )


def is_packed(shard: Shard) -> bool:
    """Return whether a shard holds more text than it has bytes.

    Lesson: notebook 13.
    """
    return bool(shard.packing) or shard.kind in ("parquet", "7z")


def check_disk(plan: Plan, folder: Path, done: set[int]) -> None:
    """Refuse to start what will not fit on the disk.

    Raises:
        NoRoom: Saying how much is needed and how much is free.

    Lesson: notebook 13.
    """
    check_room(folder, plan.bytes_needed(done) + 16 * MIB, f"Preparing {plan.title}")


def differences(old: Plan, new: Plan) -> list[str]:
    """Return in which points two plans differ, in words.

    Lesson: notebook 13.
    """
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
