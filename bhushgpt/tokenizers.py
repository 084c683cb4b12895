"""Text to numbers and back: one number for each character, or one for each byte.

Lesson: notebook 03.
"""

from pathlib import Path
from typing import Any, cast, get_args

from bhushgpt.errors import UserError, nearest
from bhushgpt.files import sha256
from bhushgpt.tokenizer_interface import (
    Ids,
    JsonStored,
    Tokenizer,
    Unknown,
    checked_ids,
    described_kind,
    read_description,
)

__all__ = ["ByteTokenizer", "CharTokenizer", "Tokenizer", "load_tokenizer", "tokenizer_from_dict"]


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

    Lesson: notebook 03.
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
            raise UserError(self._unknown_message(text)) from None

    def decode(self, ids: Ids) -> str:
        """Return the text of the ids; an id outside 0 to vocab_size - 1 raises a `UserError`."""
        return "".join(map(self.characters.__getitem__, checked_ids(ids, self.vocab_size)))

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

    def _unknown_message(self, text: str) -> str:
        position = next(i for i, character in enumerate(text) if character not in self._ids)
        near = text[max(0, position - 10) : position + 10]
        others = sorted(set(text) - set(self.characters) - {text[position]})
        more = f" (unknown too: {', '.join(map(repr, others[:8]))})" if others else ""
        return (
            f"The character {text[position]!r} at position {position} (in {near!r}) is not among "
            f"the {self.vocab_size} characters of this tokenizer{more}. Leave it out, or pass "
            f"unknown='skip' to drop such characters or unknown='replace' to write "
            f"{self.stand_in!r} instead."
        )


class ByteTokenizer(JsonStored):
    """One id for each byte of the text in UTF-8: 256 ids, and no text is unknown.

    Example:
        >>> ByteTokenizer().encode("é!")
        [195, 169, 33]
        >>> ByteTokenizer().decode([195, 169, 33])
        'é!'

    Lesson: notebook 03.
    """

    kind = "bytes"
    vocab_size = 256
    digest = sha256(bytes(range(256)))

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        """Return the bytes of the text; `unknown` changes nothing, since no character is."""
        return list(text.encode("utf-8", errors="replace"))

    def decode(self, ids: Ids) -> str:
        """Return the text of the bytes; bytes that are no UTF-8 become the sign U+FFFD."""
        return bytes(checked_ids(ids, self.vocab_size)).decode("utf-8", errors="replace")

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

    Lesson: notebook 03.
    """
    return cast(Tokenizer, JsonStored.described_class(data).from_dict(data))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in a JSON file, whichever kind it is.

    Raises:
        UserError: If the file is not there, holds no tokenizer, or is damaged.

    Lesson: notebook 03.
    """
    return tokenizer_from_dict(read_description(path))
