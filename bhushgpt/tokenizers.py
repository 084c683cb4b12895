"""Text to numbers and back: what every tokenizer offers, and two that need no training.

One has a number for each character of a text, the other one for each byte. Both are stored as a
JSON file, written in one step and read with suspicion; so are those of later lessons, whose kinds
stand in `kinds.TOKENIZERS`.

Lesson: notebook 03.
"""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, cast, get_args, runtime_checkable

import numpy as np

from bhushgpt.environment import written_out
from bhushgpt.errors import UserError, nearest
from bhushgpt.files import sha256, write_atomically
from bhushgpt.kinds import TOKENIZERS, class_of

Unknown = Literal["error", "skip", "replace"]
PIECE = 2**20  # characters that are looked up at a time, so that a long text is never there twice


class UnknownCharacter(UserError):
    """A text holds a character that a tokenizer has no number for.

    Args:
        found: The sentence that says which one, and where.
        stand_in: The character that could be written for it.
    """

    def __init__(self, found: str, stand_in: str) -> None:
        super().__init__(found, stand_in)  # both, or it could not come back from a process
        self.found, self.stand_in = found, stand_in

    def __str__(self) -> str:
        return (
            f"{self.found} Leave it out, or pass unknown='skip' to drop such characters or "
            f"unknown='replace' to write {self.stand_in!r} instead."
        )

    def typed(self) -> UserError:
        """Return the same for who types a command."""
        return UserError(
            f"{self.found} Leave it out, or add to the command --unknown skip or --unknown "
            f"replace: the first drops such characters, the other writes {self.stand_in!r} instead."
        )


@runtime_checkable
class HasToList(Protocol):
    """A numpy array or a torch tensor: both give their numbers as a list."""

    def tolist(self) -> Any: ...  # noqa: D102


Ids = Iterable[int] | HasToList


class Tokenizer(Protocol):
    """What the course expects of every tokenizer: ids from 0 to vocab_size - 1, and back.

    `digest` is a fingerprint, equal for tokenizers that give every text the same ids.
    """

    @property
    def vocab_size(self) -> int: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    def encode(self, text: str, unknown: Unknown = "error") -> list[int]: ...  # noqa: D102
    def encode_to_numpy(self, text: str, unknown: Unknown = "error") -> np.ndarray: ...  # noqa: D102
    def decode(self, ids: Ids) -> str: ...  # noqa: D102
    def decode_bytes(self, ids: Ids) -> bytes: ...  # noqa: D102
    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def save(self, path: str | Path) -> None: ...  # noqa: D102


class JsonStored:
    """The two methods that every tokenizer shares: `save` to a JSON file and `load` from it.

    Its `kind` is its name in `kinds.TOKENIZERS`.
    """

    kind: ClassVar[str]

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
        write_atomically(written_out(path), text.encode("utf-8"))

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
    """
    file = written_out(path)
    if not file.is_file():
        raise UserError(f"There is no tokenizer file {file.name!r} in the folder {file.parent}.")
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):  # brackets in brackets without end
        raise UserError(f"{file.name} is not a tokenizer's JSON file, or it is damaged.") from None
    if isinstance(found, dict) and "kind" not in found:
        refuse_foreign(file, found)
    return found


def refuse_foreign(file: Path, found: dict[str, Any]) -> None:
    """Call a tokenizer's file by its name, if it is in the form of another library.

    Raises:
        UserError: If it is.
    """
    model = found.get("model")
    if isinstance(model, dict):
        what = f"a tokenizer in Hugging Face's form (its model is {model.get('type', 'unnamed')})"
    elif "tokenizer_class" in found:
        what = "the settings of a Hugging Face tokenizer (tokenizer_config.json)"
    elif found and {*map(str, found.values())} == {*map(str, range(len(found)))}:
        what = "a bare vocabulary (a vocab.json), without the rules of a tokenizer"
    else:
        return
    raise UserError(
        f"{file.name} is {what}. Read here are the course's own files, which `tokenizer.save` "
        "writes, such as the tokenizer.json in a checkpoint. GPT-2's tokenizer has the name gpt2."
    )


def described_kind(data: Any, *kinds: str) -> str:
    """Return which of the kinds the description is of.

    Raises:
        UserError: If it is of none of them.

    Example:
        >>> described_kind({"kind": "bytes"}, "bytes", "characters")
        'bytes'
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind not in kinds:
        found = "no tokenizer" if kind is None else f"a tokenizer of kind {kind!r}"
        close = get_close_matches(str(kind), kinds, n=1)
        question = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"This describes {found}; expected is one of: {', '.join(sorted(kinds))}.{question}"
        )
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


def end_of_text(tokenizer: Tokenizer) -> int | None:
    """Return the id of the token between documents, None if the tokenizer has none.

    Example:
        >>> end_of_text(ByteTokenizer()) is None
        True
    """
    try:
        return getattr(tokenizer, "eot_id", None)
    except UserError:  # byte-pair encoding that was trained without it
        return None


class CharTokenizer(JsonStored):
    """One id for each character of an alphabet.

    Args:
        characters: The alphabet, each character once; the place of a character is its id.

    Raises:
        UserError: If the alphabet is empty or holds a character twice.

    Example:
        >>> tokenizer = CharTokenizer.from_text("hello")
        >>> tokenizer.characters, tokenizer.vocab_size, tokenizer.encode("hole")
        ('ehlo', 4, [1, 3, 2, 0])
        >>> tokenizer.decode([1, 3, 2, 0])
        'hole'
    """

    kind = "characters"

    def __init__(self, characters: str) -> None:
        if not characters:
            raise UserError("A character tokenizer needs at least one character; none came.")
        self._ids = {character: number for number, character in enumerate(characters)}
        if len(self._ids) < len(characters):
            twice = sorted(c for c in self._ids if characters.count(c) > 1)
            raise UserError(f"Each character may stand in the alphabet once; twice: {twice}.")
        self.characters = characters

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """Return the tokenizer whose alphabet is every character of the text, sorted."""
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        """How many characters the alphabet has."""
        return len(self.characters)

    @property
    def digest(self) -> str:
        """The sha256 of the alphabet: a model may only be used with the alphabet it learned."""
        return sha256(self.characters.encode("utf-8", "surrogatepass"))

    @property
    def stand_in(self) -> str:
        """What `unknown="replace"` writes: a question mark, a space, or the first character."""
        return next(c for c in ("?", " ", self.characters[0]) if c in self._ids)

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        """Return one id for each character.

        Args:
            text: Any text.
            unknown: What to do with a character outside the alphabet: "error" says which and
                where, "skip" leaves it out, "replace" writes `stand_in`.

        Raises:
            UserError: If a character is unknown and `unknown` is "error", or `unknown` is another
                word.

        Example:
            >>> CharTokenizer("abc?").encode("cab!", unknown="replace")
            [2, 0, 1, 3]
        """
        if unknown not in get_args(Unknown):
            raise UserError(f"unknown is {unknown!r}. {nearest(unknown, get_args(Unknown))}")
        if unknown == "skip":
            return [self._ids[character] for character in text if character in self._ids]
        if unknown == "replace":
            other = self._ids[self.stand_in]
            return [self._ids.get(character, other) for character in text]
        try:
            return list(map(self._ids.__getitem__, text))
        except KeyError:
            raise UnknownCharacter(self._first_unknown(text), self.stand_in) from None

    def encode_to_numpy(self, text: str, unknown: Unknown = "error") -> np.ndarray:
        """Return the ids of `encode` as an array of the smallest type that holds them.

        A list keeps 8 bytes for each id, more than a long text can afford; this needs 1 or 2, and
        a few milliseconds for a million characters.

        Raises:
            UserError: As `encode`, where a character has no id.

        Example:
            >>> CharTokenizer("abc").encode_to_numpy("cab")
            array([2, 0, 1], dtype=uint8)
        """
        none = self.vocab_size  # what the table says of a character that has no id
        letters = _code_points(self.characters)
        table = np.full(int(letters.max()) + 2, none, dtype=np.min_scalar_type(none))
        table[letters] = np.arange(none)
        kept = [np.empty(0, dtype=np.min_scalar_type(none - 1))]
        for start in range(0, len(text), PIECE):
            codes = np.minimum(_code_points(text[start : start + PIECE]), len(table) - 1)
            found = table[codes]
            if (found == none).any():
                # The plain way knows what stands for such a character, or says which one it is.
                piece = text if unknown == "error" else text[start : start + PIECE]
                found = np.array(self.encode(piece, unknown))
            kept.append(found.astype(kept[0].dtype))
        return np.concatenate(kept)

    def decode(self, ids: Ids) -> str:
        """Return the text of the ids; an id outside 0 to vocab_size - 1 raises a `UserError`."""
        return "".join(map(self.characters.__getitem__, checked_ids(ids, self.vocab_size)))

    def decode_bytes(self, ids: Ids) -> bytes:
        """Return the text of the ids in UTF-8."""
        return self.decode(ids).encode("utf-8", "surrogatepass")

    def to_dict(self) -> dict[str, Any]:
        """Return what `tokenizer_from_dict` needs to make the same tokenizer again."""
        return {"kind": self.kind, "characters": self.characters, "digest": self.digest}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CharTokenizer":
        """Return the tokenizer that `to_dict` described.

        Raises:
            UserError: If the description is of another kind, damaged or incomplete.
        """
        described_kind(data, cls.kind)
        characters = data.get("characters")
        if isinstance(characters, str):
            tokenizer = cls(characters)
            if tokenizer.digest == data.get("digest"):
                return tokenizer
        raise UserError("The tokenizer's alphabet does not fit its fingerprint: it is damaged.")

    def _first_unknown(self, text: str) -> str:
        position = next(i for i, character in enumerate(text) if character not in self._ids)
        near = text[max(0, position - 10) : position + 10]
        others = sorted(set(text) - set(self.characters) - {text[position]})
        more = f" (unknown too: {', '.join(map(repr, others[:8]))})" if others else ""
        return (
            f"The character {text[position]!r} at position {position} (in {near!r}) is not among "
            f"the {self.vocab_size} characters of this tokenizer{more}."
        )


def _code_points(text: str) -> np.ndarray:
    """Return the number that Unicode gives each character, as uint32; halves of a pair too."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


class ByteTokenizer(JsonStored):
    """One id for each byte of the text in UTF-8: 256 ids, and no text is unknown.

    Example:
        >>> ByteTokenizer().encode("é!")
        [195, 169, 33]
        >>> ByteTokenizer().decode([195, 169, 33])
        'é!'
    """

    kind = "bytes"
    vocab_size = 256
    digest = sha256(bytes(range(256)))

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        """Return the bytes of the text; `unknown` changes nothing, since no character is."""
        return list(text.encode("utf-8", errors="replace"))

    def encode_to_numpy(self, text: str, unknown: Unknown = "error") -> np.ndarray:
        """Return the same bytes as an array of uint8."""
        return np.frombuffer(text.encode("utf-8", errors="replace"), dtype=np.uint8)

    def decode(self, ids: Ids) -> str:
        """Return the text of the bytes; bytes that are no UTF-8 become the sign U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Ids) -> bytes:
        """Return the bytes of the ids; an id outside 0 to 255 raises a `UserError`."""
        return bytes(checked_ids(ids, self.vocab_size))

    def to_dict(self) -> dict[str, Any]:
        """Return what `tokenizer_from_dict` needs to make the same tokenizer again."""
        return {"kind": self.kind, "digest": self.digest}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ByteTokenizer":
        """Return the tokenizer that `to_dict` described; another kind raises a `UserError`."""
        described_kind(data, cls.kind)
        return cls()


def tokenizer_from_dict(data: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer that a `to_dict` described, whichever kind it is.

    Raises:
        UserError: If the description is of no known kind, or damaged.

    Example:
        >>> tokenizer_from_dict(CharTokenizer("abc").to_dict()).encode("cab")
        [2, 0, 1]
    """
    kind = described_kind(data, *TOKENIZERS)
    return cast(Tokenizer, class_of(TOKENIZERS, kind, "tokenizer").from_dict(data))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in a JSON file, whichever kind it is.

    Raises:
        UserError: If the file is not there, holds no tokenizer, or is damaged.
    """
    return tokenizer_from_dict(read_description(path))
