"""What every tokenizer offers, and its JSON file: written in one step, read with suspicion.

Lesson: notebook 03.
"""

import json
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from bhushgpt.errors import UserError
from bhushgpt.files import write_atomically

Unknown = Literal["error", "skip", "replace"]


@runtime_checkable
class HasToList(Protocol):
    """A numpy array or a torch tensor: both give their numbers as a list."""

    def tolist(self) -> Any: ...  # noqa: D102


Ids = Iterable[int] | HasToList


class Tokenizer(Protocol):
    """What the course expects of every tokenizer: ids from 0 to vocab_size - 1, and back.

    `digest` is a fingerprint, equal for tokenizers that give every text the same ids.

    Lesson: notebook 03.
    """

    @property
    def vocab_size(self) -> int: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    def encode(self, text: str, unknown: Unknown = "error") -> list[int]: ...  # noqa: D102
    def decode(self, ids: Ids) -> str: ...  # noqa: D102
    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def save(self, path: str | Path) -> None: ...  # noqa: D102


class JsonStored:
    """The two methods that every tokenizer shares: `save` to a JSON file and `load` from it.

    A class that names its `kind` is known to `described_class` from then on.

    Lesson: notebook 03.
    """

    kind: ClassVar[str]
    _kinds: ClassVar[dict[str, type["JsonStored"]]] = {}

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "kind" in cls.__dict__:
            JsonStored._kinds[cls.kind] = cls

    @staticmethod
    def described_class(data: Any) -> type["JsonStored"]:
        """Return the class that a description is of, be it one of a later lesson.

        This module cannot import what comes after it. So later lessons, and packages of yours,
        announce their kinds as entry points of the group `bhushgpt.tokenizers` (see
        pyproject.toml), and Python knows which are installed.

        Raises:
            UserError: If it is of no kind that there is.
        """
        announced = {point.name: point for point in entry_points(group="bhushgpt.tokenizers")}
        kind = described_kind(data, *sorted(JsonStored._kinds.keys() | announced.keys()))
        if kind not in JsonStored._kinds:
            announced[kind].load()  # it enters itself
        return JsonStored._kinds[kind]

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` needs to make the same tokenizer again."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the tokenizer that `to_dict` described."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to a JSON file, in one step."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1)
        write_atomically(Path(path), text.encode("utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the tokenizer in a JSON file.

        Raises:
            UserError: If the file is not there, holds no tokenizer of this kind, or is damaged.
        """
        return cls.from_dict(read_description(path))


def read_description(path: str | Path) -> dict[str, Any]:
    """Return the description of a tokenizer from its JSON file.

    Raises:
        UserError: If there is no such file, or it is not JSON.

    Lesson: notebook 03.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"There is no tokenizer file {file.name!r} in the folder {file.parent}.")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # brackets in brackets without end
        raise UserError(f"{file.name} is not a tokenizer's JSON file, or it is damaged.") from None


def described_kind(data: Any, *kinds: str) -> str:
    """Return which of the kinds the description is of.

    Raises:
        UserError: If it is of none of them.

    Example:
        >>> described_kind({"kind": "bytes"}, "bytes", "characters")
        'bytes'

    Lesson: notebook 03.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind not in kinds:
        found = "no tokenizer" if kind is None else f"a tokenizer of kind {kind!r}"
        raise UserError(f"This describes {found}; expected is one of: {', '.join(kinds)}.")
    return kind


def checked_ids(ids: Ids, vocab_size: int) -> list[int]:
    """Return the ids as a list, each of them one of 0 to vocab_size - 1.

    Args:
        ids: A list, or an array or tensor of one dimension.
        vocab_size: How many ids there are.

    Raises:
        UserError: If an id is outside; the message says which and where.

    Example:
        >>> checked_ids((2, 0), vocab_size=3)
        [2, 0]

    Lesson: notebook 03.
    """
    numbers = ids.tolist() if isinstance(ids, HasToList) else list(ids)
    if not isinstance(numbers, list) or (numbers and isinstance(numbers[0], list)):
        raise UserError("decode takes one row of ids; of several rows give one, such as ids[0].")
    if numbers and not 0 <= min(numbers) <= max(numbers) < vocab_size:
        position = next(i for i, number in enumerate(numbers) if not 0 <= number < vocab_size)
        raise UserError(
            f"The id {numbers[position]} at position {position} is outside this tokenizer's ids, "
            f"0 to {vocab_size - 1}. Was the model trained with another tokenizer?"
        )
    return numbers
