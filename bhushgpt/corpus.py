"""A text by name, the same characters on every machine; or any text file of the learner's own.

Lesson: notebook 03.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from bhushgpt.environment import command, written_out
from bhushgpt.errors import UserError, nearest
from bhushgpt.files import look_alike, read_file, sha256
from bhushgpt.sources import (
    END_OF_TEXT,
    END_OF_TEXT_LINE,
    clean_gutenberg,
    corpora,
    decode_text,
    find_edition,
    has_gutenberg_markers,
)


@dataclass(frozen=True)
class Corpus:
    """A text and where it comes from."""

    name: str
    title: str
    author: str
    licence: str
    source: str
    """Where this copy was taken from."""
    sha256: str
    """Fingerprint of `text` as UTF-8."""
    text: str
    notice: str = ""
    """What the learner should know, such as "this is another edition"; mostly empty."""


def load_text(name: str | Path = "sherlock") -> Corpus:
    """Return a registered text, or the text in a file.

    A registered text is looked for in the folder that BHUSHGPT_DATA names, then in the cache, then
    fetched from its sources. The edition with the registered sha256 always comes first; another
    edition is taken only where that one cannot be had, and `notice` says so.

    Args:
        name: A name from `corpora()`, or the path of a UTF-8 text file (.xz is unpacked).

    Raises:
        UserError: If there is no such text or file, the file is not UTF-8 text, or no source can
            be reached; the message says what to do.

    Example:
        >>> book = load_text("sherlock")
        >>> book.title, len(book.text), len(set(book.text))
        ('The Adventures of Sherlock Holmes', 562203, 79)
    """
    registered = corpora()
    if isinstance(name, str) and name in registered:
        entry = registered[name]
        found = find_edition(entry)
        return Corpus(
            entry.name, entry.title, entry.author, entry.licence, **dataclasses.asdict(found)
        )
    file = written_out(name)
    if file.is_dir():
        raise UserError(_is_a_folder(file))
    if file.is_file():
        return _load_own(file)
    if file.exists():
        raise UserError(
            f"{file} is a pipe or a device, and a run must be able to read its text again. Save "
            "it to a file, and give that."
        )
    if isinstance(name, str) and not file.suffix and file.name == name:
        raise UserError(
            f"There is no corpus {name!r}. {nearest(name, registered)} "
            "For a text of your own give its file, such as my.txt."
        )
    where = "" if file.is_absolute() else f" in {Path.cwd()}"
    raise UserError(f"There is no file {str(file)!r}{where}.{look_alike(file)}")


def split_point(length: int, held_out: float = 0.1) -> int:
    """Return how many tokens the training part has; the rest, at the end, is held out.

    Args:
        length: Tokens or characters in all.
        held_out: Share to hold out, between 0 and 1.

    Raises:
        UserError: If `held_out` is not between 0 and 1.

    Example:
        >>> split_point(1000), split_point(562_203)
        (900, 505983)
    """
    check_share(held_out)
    return length - int(length * held_out)


def check_share(held_out: float) -> None:
    """Refuse a share that holds out nothing or everything.

    Raises:
        UserError: If it is not between 0 and 1.
    """
    if not 0 < held_out < 1:
        raise UserError(f"held_out is {held_out}; it is a share between 0 and 1, such as 0.1.")


def split_text(text: str, held_out: float = 0.1) -> tuple[str, str]:
    """Return the text in two: what is trained on, and the last part, which is never trained on.

    Raises:
        UserError: If `held_out` is not between 0 and 1.

    Example:
        >>> split_text("abcdefghij")
        ('abcdefghi', 'j')
    """
    cut = split_point(len(text), held_out)
    return text[:cut], text[cut:]


def check_length(length: int, context_length: int, held_out: float = 0.1) -> None:
    """Refuse a text too short to cut one training example and one held-out example from.

    An example is a context and the token after it, so both parts need `context_length + 1` tokens.

    Args:
        length: Tokens (or characters) of the whole text.
        context_length: Tokens that the model looks at.
        held_out: Share that is held out.

    Raises:
        UserError: Saying how long the text is and how long it must be.

    Example:
        >>> check_length(650, 64)
        >>> check_length(500, 64)
        Traceback (most recent call last):
        bhushgpt.errors.UserError: The held-out part has 50 tokens; one example needs 65 \
(a context of 64 and the token after it). Take a text of about 650 tokens or more \
(this one has 500), or a shorter context.
    """
    needed = context_length + 1
    cut = split_point(length, held_out)
    if length == 0:
        raise UserError("The text is empty: 0 tokens. Give a text file with something in it.")
    if length < needed:
        part, size, enough = "text", length, needed
    elif length - cut < needed:
        part, size, enough = "held-out part", length - cut, needed / held_out
    elif cut < needed:
        part, size, enough = "training part", cut, needed / (1 - held_out)
    else:
        return
    raise UserError(
        f"The {part} has {size:,} tokens; one example needs {needed:,} (a context of "
        f"{context_length:,} and the token after it). Take a text of about {round(enough):,} "
        f"tokens or more (this one has {length:,}), or a shorter context."
    )


def _is_a_folder(folder: Path) -> str:
    texts = sum(path.is_file() for path in folder.rglob("*.txt"))
    if not texts:
        return f"{folder} is a folder without a text file (.txt). Name one text file."
    return (
        f"{folder} is a folder, with {texts:,} text files. Name one of them; or make tokens of all "
        "of them and train on those:\n  "
        + command("prepare", folder, "--tokenizer", "bytes", "--out", "tokens")
        + "\n  "
        + command("train", "--preset", "gpt-v2", "--corpus", "tokens")
    )


def _load_own(file: Path) -> Corpus:
    text = decode_text(read_file(file), str(file))
    notices = []
    if has_gutenberg_markers(text) and (books := clean_gutenberg(text)) != text:
        cut = len(text) - len(books)
        notices.append(
            f"{file.name} is a Project Gutenberg file: its header and licence ({cut:,} of "
            f"{len(text):,} characters, {cut / len(text):.0%}) are left out."
        )
        if cut > max(len(books), 50_000):
            notices[-1] += " That is more than what is left: look whether the file is whole."
        text = books
        if not text:
            raise UserError(f"{file.name} has a Project Gutenberg header and no book in it.")
    if marks := len(found := END_OF_TEXT_LINE.split(text)) - 1:
        text = "\n".join(found)
        notices.append(
            f"{file.name} has {marks:,} lines {END_OF_TEXT} between its documents; they are read "
            "as blank lines."
        )
    elif END_OF_TEXT in text:
        notices.append(
            f"{file.name} has {END_OF_TEXT} inside its lines, which is learned as text. If it "
            "stands between documents, prepare the text and train on that:\n  "
            + command(
                "prepare",
                file,
                "--separator",
                END_OF_TEXT,
                "--tokenizer",
                "bytes",
                "--out",
                "tokens",
            )
        )
    return Corpus(
        file.stem,
        file.name,
        "unknown",
        "your own file",
        file.name,
        sha256(text.encode()),
        text,
        " ".join(notices),
    )
