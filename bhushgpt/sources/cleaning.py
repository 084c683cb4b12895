"""From the bytes of a file to the text of the book, with nothing in it that is not the book.

Lesson: notebook 03.
"""

import re

from bhushgpt.errors import UserError

BYTE_ORDER_MARK = "\ufeff"

# Seen in real files: "THE" and "THIS", "EBOOK" and "ETEXT", with and without the space after the
# stars, with the title broken over two lines; before 2000 the book began after the small print.
_MARKER = (
    r"^[ \t]*\*{{3}}[ \t]*{word} OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)"
    r"[^*]{{0,300}}\*{{3}}.*$"
)
_SMALL_PRINT = r"^[ \t]*\*END\*?[ \t]*THE SMALL PRINT!.*$"
_START = re.compile(rf"{_MARKER.format(word='START')}|{_SMALL_PRINT}", re.I | re.M)
_END = re.compile(
    rf"{_MARKER.format(word='END')}|^[ \t]*END OF (?:THE |THIS )?PROJECT GUTENBERG.*$",
    re.I | re.M,
)
# A first paragraph of the book that thanks its makers: "Produced by An Anonymous Volunteer".
_CREDIT = re.compile(
    r"\A[(\[]?(?:(?:this )?(?:e-?text|e-?book) (?:was )?)?"
    r"(?:produced by|prepared by|transcribed by|scanned by|additional editing by|credits?:)"
    r"[^\n]*(?:\n(?![ \t]*\n)[^\n]*){0,4}(?:\n[ \t]*\n|\Z)",
    re.I,
)

_FOREIGN = {b"%PDF": "a PDF file", b"PK\x03\x04": "a zip archive (or a Word or EPUB file)"}


def decode_text(raw: bytes, name: str = "the text") -> str:
    r"""Return the text that the bytes spell in UTF-8: no byte order mark, lines end with `\n`.

    Args:
        raw: The bytes of a file.
        name: What to call the file in a message.

    Raises:
        UserError: If the bytes are not UTF-8 (the message guesses what they are and shows how to
            convert them), hold NUL bytes, or hold no text.

    Example:
        >>> decode_text(b"\xef\xbb\xbfTo Sherlock Holmes\r\n")
        'To Sherlock Holmes\n'
    """
    for signature, what in _FOREIGN.items():
        if raw.startswith(signature):
            raise UserError(f"{name} is {what}, not a text file. Save its text as UTF-8 first.")
    if guess := _utf16(raw):
        raise UserError(f"{name} is not UTF-8: it looks like UTF-16. {_convert(name, guess)}")
    if b"\x00" in raw:
        raise UserError(
            f"{name} holds NUL bytes ({raw.count(0):,}, the first at offset {raw.index(0):,}), "
            "which no text has. It is a binary file or a damaged one: take another copy."
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(_not_utf8(raw, error.start, name)) from None
    text = plain_lines(text)
    if not text.strip():
        raise UserError(f"{name} is empty: {len(raw)} bytes and no text in them.")
    return text


def plain_lines(text: str) -> str:
    r"""Return the text without byte order marks and with `\n` as the only end of a line.

    Example:
        >>> plain_lines("\ufeffone\r\ntwo\rthree")
        'one\ntwo\nthree'
    """
    return text.replace(BYTE_ORDER_MARK, "").replace("\r\n", "\n").replace("\r", "\n")


def clean_gutenberg(raw: bytes | str) -> str:
    r"""Return the book inside a Project Gutenberg file: no mark, header, credits or licence.

    What is cut: everything up to the START line, everything from the END line on, "End of (the)
    Project Gutenberg ..." where it stands inside those, and a first paragraph of credits. A file
    without any of them comes back as it is, but for the ends of its lines and the blank lines
    around the text. Cleaning a clean text changes nothing.

    Args:
        raw: The file, as bytes or as decoded text.

    Raises:
        UserError: If bytes are given that `decode_text` refuses.

    Example:
        >>> clean_gutenberg("Legal words\r\n*** START OF THE PROJECT GUTENBERG EBOOK OZ ***\r\n"
        ...                 "Produced by A. Volunteer\r\n\r\nDorothy lived in Kansas.\r\n"
        ...                 "*** END OF THE PROJECT GUTENBERG EBOOK OZ ***\r\nMore legal words\r\n")
        'Dorothy lived in Kansas.\n'
    """
    text = decode_text(raw) if isinstance(raw, bytes) else plain_lines(raw)
    # Until nothing changes: a header may be there twice, a credit may follow a credit.
    while (cut := _cut_once(text)) != text:
        text = cut
    return text


def has_gutenberg_markers(text: str) -> bool:
    """Tell whether a text holds a START or an END line of Project Gutenberg.

    Example:
        >>> has_gutenberg_markers("*** START OF THIS PROJECT GUTENBERG EBOOK OZ ***")
        True
        >>> has_gutenberg_markers("The START OF the story")
        False
    """
    return bool(_START.search(text) or _END.search(text))


def _cut_once(text: str) -> str:
    if start := _START.search(text):
        text = text[start.end() :]
    if end := _END.search(text):
        text = text[: end.start()]
    text = text.strip()
    if credit := _CREDIT.match(text):
        text = text[credit.end() :].strip()
    return text + "\n" if text else ""


def _utf16(raw: bytes) -> str | None:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = raw[:1000]
    # Latin letters in UTF-16 have a NUL beside each of them.
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        beside = start[first::2]
        if len(beside) > 1 and beside.count(0) > 0.8 * len(beside):
            return encoding
    return None


def _not_utf8(raw: bytes, offset: int, name: str) -> str:
    line = raw.count(b"\n", 0, offset) + 1
    # Windows' 1252 is Latin-1 with quotes and dashes where Latin-1 has control characters.
    has_quotes = any(0x80 <= byte < 0xA0 for byte in raw)
    encoding, spoken = ("cp1252", "Windows-1252") if has_quotes else ("latin-1", "Latin-1")
    near = raw[max(0, offset - 12) : offset + 12].decode(encoding, errors="replace")
    return (
        f"{name} is not UTF-8: the byte 0x{raw[offset]:02x} at offset {offset:,} (line {line:,}) "
        f"fits no character. It looks like {spoken}, in which it reads {near!r}. "
        f"{_convert(name, encoding)}"
    )


def _convert(name: str, encoding: str) -> str:
    return (
        "Save it as UTF-8 in your editor, or in Python: "
        f"p = pathlib.Path({name!r}); p.write_text(p.read_text({encoding!r}), 'utf-8')"
    )
