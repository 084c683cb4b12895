"""What a byte-pair tokenizer is: its merges and special tokens; how its ids become text again.

Lesson: notebook 12.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from bhushgpt.bpe_bytes import BYTE_ORDER
from bhushgpt.bpe_export import tokenizers_description
from bhushgpt.bpe_naive import Merge
from bhushgpt.bpe_pieces import utf8
from bhushgpt.errors import UserError
from bhushgpt.files import sha256, write_atomically
from bhushgpt.tokenizer_interface import Ids, JsonStored, checked_ids, described_kind

END_OF_TEXT = "<|endoftext|>"
"""GPT-2's only special token: it stands between documents."""


class BPEVocabulary(JsonStored):
    """The tokens of a byte-pair tokenizer: 256 bytes, one for each merge, the special ones.

    Args:
        merges: Pairs of ids; the first makes the id 256, the next 257, and so on.
        special_tokens: Their names; they get the last ids.

    Raises:
        UserError: If a pair names an id that is not there yet, a token is made twice, or a special
            token is empty or stands twice.

    Example:
        >>> BPEVocabulary([(71, 68), (220, 256)]).decode([257, 0])
        ' he!'

    Lesson: notebook 12.
    """

    def __init__(
        self, merges: Iterable[Merge], special_tokens: Sequence[str] = (END_OF_TEXT,)
    ) -> None:
        self.merges = list(merges)
        ordinary = [bytes([byte]) for byte in BYTE_ORDER]
        for number, (left, right) in enumerate(self.merges):
            if not (0 <= left < len(ordinary) and 0 <= right < len(ordinary)):
                raise UserError(
                    f"Merge {number} is of the ids {left} and {right}; only the ids 0 to "
                    f"{len(ordinary) - 1} exist before it. Give the merges in their order."
                )
            ordinary.append(ordinary[left] + ordinary[right])
        if len(set(ordinary)) < len(ordinary):
            raise UserError("Two merges make the same token; take merges from one training.")
        if "" in special_tokens or len(set(special_tokens)) < len(special_tokens):
            raise UserError(
                f"The special tokens are {list(special_tokens)}; each needs a name of its own."
            )
        self.special_ids = {name: len(ordinary) + n for n, name in enumerate(special_tokens)}
        self.tokens = ordinary + [utf8(name) for name in special_tokens]

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    @property
    def eot_id(self) -> int:
        """The id of "<|endoftext|>"; a tokenizer without it raises a `UserError`."""
        if END_OF_TEXT not in self.special_ids:
            raise UserError(f"This tokenizer has no {END_OF_TEXT}; train it with that special one.")
        return self.special_ids[END_OF_TEXT]

    @property
    def digest(self) -> str:
        """The sha256 of merges and special tokens: it decides which ids a text gets."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return sha256(json.dumps([self.kind, self._merge_numbers, [*self.special_ids]]).encode())

    @cached_property
    def _merge_numbers(self) -> str:
        # One string: as a list, 50,000 merges would take 150,000 lines of an indented file.
        return " ".join(f"{left} {right}" for left, right in self.merges)

    def decode_bytes(self, ids: Ids) -> bytes:
        """Return the bytes of the ids; an id outside 0 to vocab_size - 1 raises a `UserError`."""
        return b"".join(map(self.tokens.__getitem__, checked_ids(ids, self.vocab_size)))

    def decode(self, ids: Ids) -> str:
        """Return the text of the ids; bytes that are no UTF-8 become the sign U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def to_dict(self) -> dict[str, Any]:
        """Return what `tokenizer_from_dict` needs to make the same tokenizer again."""
        return {
            "kind": self.kind,
            "merges": self._merge_numbers,
            "special_tokens": [*self.special_ids],
            "digest": self.digest,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the tokenizer that `to_dict` described.

        Raises:
            UserError: If the description is of another kind, damaged or incomplete.
        """
        described_kind(data, cls.kind)
        try:
            numbers = [int(number) for number in data["merges"].split()]
            merges = zip(numbers[::2], numbers[1::2], strict=True)
            tokenizer = cls(merges, data["special_tokens"])
        except (KeyError, TypeError, AttributeError, ValueError):
            tokenizer = None
        if tokenizer is None or tokenizer.digest != data.get("digest"):
            raise UserError("The tokenizer's merges do not fit its fingerprint: it is damaged.")
        return tokenizer

    def to_tokenizers_json(self, path: str | Path) -> None:
        """Write a `tokenizer.json` that Hugging Face `tokenizers` and `transformers` read.

        They read the names of special tokens in every text as special, unless told otherwise.

        Raises:
            UserError: If a special token has the name of an ordinary one.
        """
        ordinary = self.tokens[: len(BYTE_ORDER) + len(self.merges)]
        described = tokenizers_description(ordinary, self.merges, self.special_ids)
        write_atomically(Path(path), json.dumps(described, ensure_ascii=False).encode())
