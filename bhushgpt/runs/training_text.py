"""What a model learns from and is judged on: a text read here and now, or tokens prepared before.

Lesson: notebook 17.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bhushgpt.batches import split_tokens
from bhushgpt.corpus import load_text
from bhushgpt.data import PreparedTokens, TokenFile, is_tokens_folder
from bhushgpt.environment import written_out
from bhushgpt.errors import UserError
from bhushgpt.ngrams import Floors, count_floors
from bhushgpt.tokenizers import CharTokenizer, Tokenizer, Unknown, end_of_text

# Of a text of any length so much is judged and counted: seconds on a laptop.
JUDGED_TOKENS = 2**18
JUDGED_PIECES = 64
COUNTED_TOKENS = 3_000_000


@dataclass(frozen=True, kw_only=True)
class Text:
    """Tokens in two parts, and what people want to know about them."""

    title: str
    """What the text is."""
    size: str
    """How much it is, in words."""
    digest: str
    """Fingerprint of all that is learned from and judged on."""
    unit: str
    """What a token is: "character" or "token"."""
    tokenizer: Tokenizer
    train: Sequence[int] | np.ndarray
    """The ids to learn from; on the disk, if they were prepared."""
    held_out: np.ndarray
    """The ids to be judged on."""
    held_out_bytes: int
    """UTF-8 bytes of the text that a model predicts there: all but the first token."""
    held_out_is: str = "the held-out last tenth"
    """Which part is judged, in words."""
    notice: str = ""
    """What the learner should know, such as "this is another edition"; mostly empty."""

    def floors(self) -> Floors:
        """Return what counters reach on the held-out part, in bounded time and memory."""
        return count_floors(self.counted, self.held_out, self.tokenizer.vocab_size)

    @property
    def tokens(self) -> int:
        """How many tokens are learned from and judged on."""
        return len(self.train) + len(self.held_out)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the ids that are in the memory: prepared ones stay on the disk."""
        parts = (self.train, self.held_out)
        return sum(ids.nbytes for ids in parts if type(ids) is np.ndarray)

    @property
    def counted(self) -> np.ndarray:
        """The tokens that the floors are counted on: the first ones, if there are very many."""
        return np.asarray(self.train[:COUNTED_TOKENS])

    @property
    def prompt(self) -> str:
        """A few words that the tokenizer can spell."""
        try:
            self.tokenizer.encode("The ")
        except UserError:
            words = self.tokenizer.decode(np.asarray(self.train[:100])).split(maxsplit=1)
            return words[0][:20] if words else ""
        return "The "


class OtherText(UserError):
    """There is a text of that name, but it is not the one that was meant."""


def open_text(
    name: str,
    *,
    held_out: float = 0.1,
    context_length: int = 1,
    tokenizer: Tokenizer | None = None,
    digest: str | None = None,
    unknown: Unknown = "error",
) -> Text:
    """Return the text of that name: a registered corpus, a text file, or a prepared folder.

    Args:
        name: What `--corpus` takes.
        held_out: Share of a text that is held out; prepared tokens are in two parts already.
        context_length: Both parts must hold a window of this length and its target.
        tokenizer: Of an earlier run; by default, each character is a token.
        digest: What the text's digest must be.
        unknown: What to do with characters that the tokenizer does not know.

    Raises:
        OtherText: If it is another.
        UserError: If there is no such text, it is too short, or it has characters that the
            tokenizer does not know.

    >>> text = open_text("sherlock", context_length=64)
    >>> text.size, len(text.train), text.prompt
    ('562,203 characters, 79 different', 505983, 'The ')
    """
    folder = written_out(name)
    if folder.is_dir() and is_tokens_folder(folder):
        return _prepared(folder, context_length, digest, tokenizer)
    corpus = load_text(name)
    if digest not in (None, corpus.sha256):
        raise OtherText(f"The text {name!r} has changed.")
    tokenizer = tokenizer or CharTokenizer.from_text(corpus.text)
    tokens = tokenizer.encode_to_numpy(corpus.text, unknown)
    train, kept = split_tokens(tokens, held_out, context_length=context_length)
    judged = spread_pieces(kept, JUDGED_TOKENS)
    author = "" if corpus.author == "unknown" else f", {corpus.author}"
    return Text(
        title=f"{corpus.title}{author}",
        size=f"{len(corpus.text):,} characters, {tokenizer.vocab_size:,} different",
        digest=corpus.sha256,
        unit="character" if isinstance(tokenizer, CharTokenizer) else "token",
        tokenizer=tokenizer,
        train=train,
        held_out=judged,
        held_out_bytes=len(tokenizer.decode(judged[1:]).encode()),
        held_out_is=_part_in_words(f"the held-out {last_part(held_out)}", judged, kept),
        notice=" ".join(filter(None, [corpus.notice, _others(corpus.text, tokenizer, unknown)])),
    )


def spread_pieces(
    tokens: np.ndarray | TokenFile, most: int, n_pieces: int = JUDGED_PIECES
) -> np.ndarray:
    """Return all tokens if they are few, or else pieces of equal length, evenly spread over them.

    A beginning alone would not do: it may be a table of contents. At the seams, one token in
    thousands, every predictor stands before a jump; it is the same for all.

    Args:
        tokens: One-dimensional ids.
        most: How many tokens are returned at most.
        n_pieces: Of how many pieces they are.

    >>> spread_pieces(np.arange(100), most=6, n_pieces=3).tolist()
    [0, 1, 49, 50, 98, 99]
    """
    if len(tokens) <= most:
        return np.asarray(tokens)
    length = most // n_pieces
    starts = np.linspace(0, len(tokens) - length, n_pieces).astype(int)
    return np.concatenate([tokens[start : start + length] for start in starts])


def last_part(share: float) -> str:
    """Return the words for the last share of a text.

    >>> last_part(0.1), last_part(0.25), last_part(0.001)
    ('last tenth', 'last 25%', 'last 0.1%')
    """
    return "last tenth" if share == 0.1 else f"last {100 * share:g}%"


def _part_in_words(whole: str, judged: np.ndarray, kept: Sequence[int] | np.ndarray) -> str:
    if len(judged) == len(kept):
        return whole
    return f"{len(judged):,} tokens, evenly spread over {whole} ({len(kept):,} tokens)"


def _others(text: str, tokenizer: Tokenizer, unknown: Unknown) -> str:
    """Return the sentence about characters that the tokenizer does not know, if there are any."""
    if not isinstance(tokenizer, CharTokenizer) or unknown == "error":
        return ""
    others = sorted(set(text) - set(tokenizer.characters))
    if not others:
        return ""
    count = sum(text.count(character) for character in others)
    done = "left out" if unknown == "skip" else f"read as {tokenizer.stand_in!r}"
    shown = ", ".join(map(repr, others[:8])) + (", ..." if len(others) > 8 else "")
    return f"{count:,} characters that the model has never seen are {done}: {shown}."


def _prepared(
    folder: Path, context_length: int, digest: str | None, tokenizer: Tokenizer | None
) -> Text:
    found = PreparedTokens.open(folder)
    if tokenizer is not None and tokenizer.digest != found.tokenizer.digest:
        raise UserError(
            f"The tokens in {folder} were made by another tokenizer than the model's, so its "
            "numbers would mean other things. Give the text itself, or prepare it with the model's."
        )
    if digest not in (None, found.digest):
        raise OtherText(f"The tokens in {folder} were prepared anew and are others.")
    for part, tokens in (("training", found.train), ("held-out", found.held_out)):
        if len(tokens) <= context_length:
            raise UserError(
                f"The {part} part in {folder} has {len(tokens):,} tokens; one example needs "
                f"{context_length + 1:,} (a context of {context_length:,} and the token after "
                "it). Prepare more text, or take a preset with a shorter context."
            )
    judged = spread_pieces(found.held_out, JUDGED_TOKENS)
    whole = len(judged) == len(found.held_out)
    return Text(
        title=found.title,
        size=f"{len(found.train):,} tokens of {found.tokenizer.vocab_size:,} kinds to learn from, "
        f"{len(found.held_out):,} held out",
        digest=found.digest,
        unit="token",
        tokenizer=found.tokenizer,
        train=found.train,
        held_out=judged,
        held_out_bytes=found.held_out_bytes if whole else _text_bytes(judged, found.tokenizer),
        held_out_is=_part_in_words("the held-out documents", judged, found.held_out),
    )


def _text_bytes(ids: np.ndarray, tokenizer: Tokenizer) -> int:
    """Return the UTF-8 bytes of the text that the ids stand for, the marks between not counted."""
    end = end_of_text(tokenizer)
    return len(tokenizer.decode(ids[ids != end] if end is not None else ids).encode())
