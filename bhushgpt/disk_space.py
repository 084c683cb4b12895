"""Room on the disk, asked for before anything is written.

Lesson: notebook 10.
"""

import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bhushgpt.errors import UserError

if TYPE_CHECKING:  # both load torch, which asking for room must not
    from bhushgpt.presets import RunConfig


class NoRoom(UserError):
    """The disk is full: nothing that was there before is lost, and going on may still be wanted.

    Lesson: notebook 10.
    """


def free_bytes(folder: Path) -> int:
    """Return the bytes that can still be written where a folder is, or will be.

    Lesson: notebook 10.

    >>> free_bytes(Path("a folder that does not exist yet")) > 0
    True
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check_room(folder: Path, needed: int, what: str = "This") -> None:
    """Refuse to write more than there is room for.

    Args:
        folder: Where it will be written.
        needed: Bytes.
        what: The beginning of the sentence: what is about to be written.

    Raises:
        NoRoom: With the size needed and the size that is free.

    Lesson: notebook 10.
    """
    free = free_bytes(folder)
    if needed > free:
        raise NoRoom(
            f"{what} needs {megabytes(needed)}, and the disk of {folder} has "
            f"{megabytes(free)} free. Make room there, or name a folder on another disk."
        )


def expected_bytes(config: "RunConfig") -> int:
    """Return about how many bytes one checkpoint of a run will take, before anything is built.

    Lesson: notebook 10.

    >>> from bhushgpt.presets import preset
    >>> 9 < expected_bytes(preset("gpt-v1", 79)) / 2**20 < 11
    True
    """
    # Weights and AdamW's two means, in float32.
    from bhushgpt.forecast import parameter_count

    return 3 * 4 * parameter_count(config) + other_bytes(config)


def other_bytes(config: "RunConfig") -> int:
    """Return about how many bytes of a checkpoint are not tensors: most are the tokenizer's.

    Lesson: notebook 10.
    """
    return 2**17 + 64 * config.model.vocab_size


def is_full(error: BaseException) -> bool:
    """Return whether an error says that the disk, or one's share of it, is full.

    Lesson: notebook 10.

    >>> is_full(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    full = (errno.ENOSPC, errno.EDQUOT)
    text = str(error)  # a library in Rust has only words for it
    return getattr(error, "errno", None) in full or any(f"os error {n}" in text for n in full)


def megabytes(size: int) -> str:
    """Return a size in MB, rounded up: what is asked for must be enough.

    Lesson: notebook 10.

    >>> megabytes(1), megabytes(1_234_500_000)
    ('0.1 MB', '1,234.5 MB')
    """
    return f"{-(-size // 100_000) / 10:,.1f} MB"
