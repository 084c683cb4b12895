"""GPT-2's tokenizer: bytes, merged by what training found; and special tokens that no text makes.

The ids are those of the 256 bytes in GPT-2's order, then one for each merge, then the special
tokens. Encoding runs in the `tiktoken` library, fed with our own merges; `bpe_naive` says what it
has to compute.

Lesson: notebook 12.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import regex

from bhushgpt.bpe_bytes import BYTE_ORDER
from bhushgpt.bpe_encoding import FastEncoder
from bhushgpt.bpe_gpt2 import gpt2_merges
from bhushgpt.bpe_pieces import count_pieces, stretches
from bhushgpt.bpe_training import learn_merges
from bhushgpt.bpe_vocabulary import END_OF_TEXT, BPEVocabulary
from bhushgpt.errors import UserError, nearest
from bhushgpt.tokenizer_interface import Unknown


class BPETokenizer(BPEVocabulary):
    """Byte-pair encoding as in GPT-2: no text is unknown, and frequent words are one id.

    `encode` reads every text as text: "<|endoftext|>" in a document becomes the ids of its
    characters. Only a special token named in `allowed_special` becomes its id.

    Args:
        merges: Pairs of ids; the first makes the id 256, the next 257, and so on.
        special_tokens: Their names; they get the last ids.

    Raises:
        UserError: If a pair names an id that is not there yet, a token is made twice, or a special
            token is empty or stands twice.

    Example:
        >>> tokenizer = BPETokenizer.train(["hug hug pug hugs"], vocab_size=259)
        >>> tokenizer.tokens[256:]
        [b'ug', b'hug', b'<|endoftext|>']
        >>> tokenizer.encode("hugs"), tokenizer.decode([257, 82])
        ([257, 82], 'hugs')

    Lesson: notebook 12.
    """

    kind = "bpe"

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
    ) -> "BPETokenizer":
        """Return a tokenizer whose merges are learned from the texts.

        Args:
            texts: Documents, read once; only their different pieces are kept in memory.
            vocab_size: Ids in all: 256 bytes, the merges, and the special tokens.
            special_tokens: Names of the special tokens.

        Raises:
            UserError: If the vocabulary is smaller than the bytes and special tokens, or larger
                than the texts can fill.
        """
        fixed = len(BYTE_ORDER) + len(special_tokens)
        if vocab_size < fixed:
            raise UserError(
                f"vocab_size is {vocab_size}; the 256 bytes and {len(special_tokens)} special "
                f"tokens need {fixed} already. Take {fixed} or more, such as {fixed + 244}."
            )
        merges = list(learn_merges(count_pieces(texts), vocab_size - fixed))
        if (possible := fixed + len(merges)) < vocab_size:
            raise UserError(
                f"vocab_size is {vocab_size:,}, but after {possible:,} ids every piece of the "
                f"texts is one token. Take at most {possible:,}, or more text."
            )
        return cls(merges, special_tokens)

    @classmethod
    def from_gpt2(cls) -> "BPETokenizer":
        """Return GPT-2's tokenizer, 50,257 ids; its merges are fetched once.

        Raises:
            UserError: If they can be had nowhere.

        Example:
            >>> gpt2 = BPETokenizer.from_gpt2()
            >>> gpt2.vocab_size, gpt2.eot_id, gpt2.encode("Hello world")
            (50257, 50256, [15496, 995])
        """
        return cls(gpt2_merges())

    @cached_property
    def _encoder(self) -> FastEncoder:
        return FastEncoder(self.tokens[: len(BYTE_ORDER) + len(self.merges)])

    def encode(
        self,
        text: str,
        unknown: Unknown = "error",
        *,
        allowed_special: Collection[str] | Literal["all"] = (),
    ) -> list[int]:
        """Return the ids of a text.

        Args:
            text: Any text.
            unknown: What to do with half a surrogate pair, the one thing that has no UTF-8:
                "error" says where it is, "skip" leaves it out, "replace" puts U+FFFD there.
            allowed_special: Names of special tokens that become their ids, or "all". Only for
                text that is not a stranger's.

        Raises:
            UserError: If half a surrogate pair is there and `unknown` is "error", or a special
                token has another name.

        Example:
            >>> tokenizer = BPETokenizer([])
            >>> tokenizer.encode("<|endoftext|>", allowed_special="all")
            [256]
            >>> tokenizer.encode("<|endoftext|>") == tokenizer.encode_ordinary("<|endoftext|>")
            True
        """
        if unknown not in get_args(Unknown):
            raise UserError(f"unknown is {unknown!r}. {nearest(unknown, get_args(Unknown))}")
        if unknown != "error":
            # Through UTF-16, two halves that stand side by side become their character again.
            halves = "replace" if unknown == "replace" else "ignore"
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", halves)
        names = self.special_ids if allowed_special == "all" else allowed_special
        if others := sorted(set(names) - self.special_ids.keys()):
            raise UserError(
                f"{others[0]!r} is no special token. {nearest(others[0], self.special_ids)}"
            )
        if not names:
            return self._encoder.ids(text)
        # The longest name first, so that one may be the beginning of another.
        either = "|".join(regex.escape(name) for name in sorted(names, key=len, reverse=True))
        ids: list[int] = []
        for part in regex.split(f"({either})", text):
            ids += [self.special_ids[part]] if part in names else self._encoder.ids(part)
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of a text; nothing in it is special.

        Raises:
            UserError: If the text holds half a surrogate pair.
        """
        return self._encoder.ids(text)

    def encode_to_numpy(self, text: str) -> np.ndarray:
        """Return what `encode_ordinary` returns as an array of uint32, a fifth faster.

        Raises:
            UserError: If the text holds half a surrogate pair.
        """
        return self._encoder.array(text)

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Yield the ids of one text that comes in parts: those of the whole, wherever it is cut.

        Args:
            chunks: The text in order, such as an open file. What is kept in memory is a chunk and
                the longest stretch without white space or a mark after a letter.

        Raises:
            UserError: If the text holds half a surrogate pair.

        Example:
            >>> tokenizer = BPETokenizer.train(["hug hugs"], vocab_size=259)
            >>> list(tokenizer.encode_iterable(["h", "ug", "s"])) == tokenizer.encode("hugs")
            True
        """
        for stretch in stretches(chunks):
            yield from self._encoder.ids(stretch)
