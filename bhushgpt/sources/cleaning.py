"""From the bytes of a file to the text of the book, with nothing in it that is not the book.

What is no UTF-8 text is called what it is, with a way out that keeps the file. What Project
Gutenberg puts around a book is found by its marker lines; but a line that only quotes such a
marker cuts nothing, and of several books in a file all are kept.

Lesson: notebook 03.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator

from bhushgpt.errors import UserError
from bhushgpt.sources.downloads import is_web_page

BYTE_ORDER_MARK = "\ufeff"
# GPT-2's special token. Between two documents of a file people put it on a line of its own.
END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_LINE = re.compile(rf"^[ \t]*{re.escape(END_OF_TEXT)}[ \t]*(?:\n|\Z)", re.M)

# How files begin that are no text, and what they are.
_FOREIGN = {
    b"%PDF": "a PDF file",
    b"PK\x03\x04": "a zip archive (or a Word or EPUB file)",
    b"\x1f\x8b": "a file packed with gzip",
    b"BZh": "a file packed with bzip2",
    b"\x28\xb5\x2f\xfd": "a file packed with zstd",
    b"\xfd7zXZ\x00": "a file packed with xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"{\\rtf": "a document in RTF (Word and TextEdit write it)",
    b"\xd0\xcf\x11\xe0": "an old Word document",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"GIF8": "a picture (GIF)",
    b"\x04\x22\x4d\x18": "a file packed with lz4",
    b"\x1f\x9d": "a file packed with compress (.Z)",
    b"Rar!": "a rar archive",
    b"SQLite format 3": "a database (SQLite)",
    b"%!PS": "a PostScript file",
    b"version https://git-lfs.github.com/": "a pointer of Git LFS in the place of a file",
}
_WAY_OUT = {
    "packed": "Unpack it first; or give it, named .txt.gz, .txt.bz2 or .txt.zst, to `prepare`.",
    "pointer": "Fetch the file in its repository with: git lfs pull",
}


def decode_text(raw: bytes, name: str = "the text") -> str:
    r"""Return the text that the bytes spell in UTF-8: no byte order mark, lines end with `\n`.

    Args:
        raw: The bytes of a file.
        name: What to call the file in a message: best its path, for a command in it.

    Raises:
        UserError: If the bytes are not UTF-8 (the message shows what they read in other encodings
            and how to convert them into a new file), hold NUL bytes, are no text or hold none.

    Example:
        >>> decode_text(b"\xef\xbb\xbfTo Sherlock Holmes\r\n")
        'To Sherlock Holmes\n'
    """
    short = re.split(r"[/\\]", name)[-1]
    for signature, what in _FOREIGN.items():
        if raw.startswith(signature):
            ways = [way for word, way in _WAY_OUT.items() if word in what]
            advice = ways[0] if ways else "Save its text as UTF-8 first."
            raise UserError(f"{short} is {what}, not a text file. {advice}")
    if is_web_page(raw) and not name.lower().endswith((".html", ".htm")):
        raise UserError(
            f"{short} is a web page (HTML), not the text on it: a page around the text may have "
            'been saved, or a log-in page. Download the text itself (on GitHub: the button "Raw"). '
            "To learn from the tags on purpose, let its name end with .html."
        )
    if encoding := _spelled_in_ascii(raw):
        reading = raw[:400].decode(encoding, errors="replace").strip()[:40]
        raise UserError(
            f"{short} is not plain UTF-8: it is spelled in ASCII, as {encoding.upper()} does, in "
            f"which it begins {reading!r}. {_convert(name, encoding)}"
        )
    if encoding := _wide_encoding(raw):
        spoken = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        reading = raw[:400].decode(encoding, errors="replace").strip("\ufeff\n\r ")[:40]
        raise UserError(
            f"{short} is not UTF-8: it looks like {spoken}, in which it begins {reading!r}. "
            f"{_convert(name, encoding)}"
        )
    if b"\x00" in raw:
        raise UserError(
            f"{short} holds NUL bytes ({raw.count(0):,}, the first at offset {raw.index(0):,}), "
            "which no text has. It is a binary file or a damaged one: take another copy."
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(_not_utf8(raw, error.start, name, short)) from None
    text = plain_lines(text)
    if not text or text.isspace():  # a stripped copy would double what a long text takes
        raise UserError(f"{short} is empty: {len(raw)} bytes and no text in them.")
    return text


def plain_lines(text: str) -> str:
    r"""Return the text without byte order marks and with `\n` as the only end of a line.

    Example:
        >>> plain_lines("\ufeffone\r\ntwo\rthree")
        'one\ntwo\nthree'
    """
    return text.replace(BYTE_ORDER_MARK, "").replace("\r\n", "\n").replace("\r", "\n")


# With a letter in it: numbers such as +100-200 are no signs.
_BASE_64 = re.compile(rb"\+(?=[0-9/]*[A-Za-z])[A-Za-z0-9/]{3,}-")


def _spelled_in_ascii(raw: bytes) -> str | None:
    r"""Return which encoding writes other signs with ASCII alone here, or None.

    ISO-2022 changes alphabets by escape sequences, UTF-7 writes "+AOk-" for an é.

    Example:
        >>> _spelled_in_ascii("\u3080\u304b\u3057".encode("iso2022_jp")), _spelled_in_ascii(b"a")
        ('iso2022-jp', None)
    """
    start = raw[:100_000]
    if not start.isascii():
        return None
    found = [("iso2022-jp", b"\x1b$" in start), ("iso2022-kr", b"\x1b$)C" in start)]
    found += [("utf-7", len(_BASE_64.findall(start)) >= 3)]
    for encoding, marked in found:
        if not marked:
            continue
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        foreign = [sign for sign in text if not sign.isascii()]
        if foreign and "\x1b" not in text and all(map(str.isprintable, foreign)):
            return encoding
    return None


def _wide_encoding(raw: bytes) -> str | None:
    """Return which of UTF-16 and UTF-32 a text is in, in any script, or None.

    Text in any script has spaces, ends of lines or digits in it, and each of them is a NUL beside
    (UTF-16) or three NULs around (UTF-32) a byte that is none, always on the same side. A binary
    file has NULs anywhere, and read so it is full of characters that no text has.
    """
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")):
        if raw.startswith(mark):
            return encoding
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = raw[:4000]
    letters = start.replace(b"\0", b"")
    if len(letters) == len(start) or (len(letters) > 0.55 * len(start) and _is_plain(letters)):
        return None  # no NUL, or a text with some in it
    for encoding, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        if len(raw) % width or len(raw) < 3 * width:
            continue
        try:
            text = start[: len(start) // width * width].decode(encoding)
        except UnicodeDecodeError as error:
            if error.start < len(start) - width:  # not only a pair that the end cuts
                continue
            text = start[: error.start].decode(encoding)
        sound = sum(unicodedata.category(c)[0] in "LMNPZS" or c in "\n\r\t\ufeff" for c in text)
        plain = sum(c in " \n\r\t" or (c.isascii() and c.isprintable()) for c in text)
        if text and sound >= 0.98 * len(text) and (plain or width == 4) and _one_script(text):
            return encoding
    return None


def _is_plain(data: bytes) -> bool:
    try:
        return all(c.isprintable() or c.isspace() for c in data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _one_script(text: str) -> bool:
    """Return whether letters are of few scripts; bytes in the wrong order spell dozens."""
    names = [unicodedata.name(c, "?").split(" ")[0] for c in text if c.isalpha()]
    common = [names.count(script) for script in {*names}]
    return not names or sum(sorted(common)[-3:]) >= 0.95 * len(names)


# Tried beside what charset-normalizer takes for likely: the encodings that people still have.
_WESTERN = ("cp1252", "latin-1", "mac-roman", "cp850")
_OTHERS = ("cp1251", "koi8-r", "gb18030", "shift_jis", "big5", "euc-kr", "utf-16-le", "utf-16-be")


def _not_utf8(raw: bytes, offset: int, name: str, short: str) -> str:
    """Return what is wrong, and what the line reads in encodings that could be meant.

    Which of them is right, only a person can see: almost any bytes are a text in most of them.
    """
    import charset_normalizer  # here, since it takes its time to load

    number = raw.count(b"\n", 0, offset) + 1
    said = (
        f"{short} is not UTF-8: the byte 0x{raw[offset]:02x} at offset {offset:,} (line "
        f"{number:,}) fits no character"
    )
    if places := _damaged_places(raw):
        where = "that place" if places == 1 else f"{places:,} places"
        code = _code(name, "'utf-8', 'replace'")
        return (
            f"{said}. The rest of it is UTF-8: it is damaged in {where}, or cut off at its end. "
            f"Take another copy; or put a \N{REPLACEMENT CHARACTER} where a sign is lost, into a "
            f"new file, in Python: {code}"
        )
    begin = max(raw.rfind(b"\n", 0, offset) + 1, offset - 40)
    line = raw[begin : offset + 60].split(b"\n")[0].rstrip(b"\r")
    first = raw.rfind(b"\n", 0, max(0, offset - 20_000)) + 1
    around = raw[first : max(raw.find(b"\n", offset + 20_000), 0) or len(raw)][:100_000]
    likely = [match.encoding for match in charset_normalizer.from_bytes(around)][:3]
    if sum(byte >= 0x80 for byte in around) < 0.25 * len(around):  # an accent here and there
        likely = [*_WESTERN, *likely]
    odd: dict[str, int] = {}
    for encoding in [*likely, *_WESTERN, *_OTHERS]:
        try:
            odd[encoding] = _odd_places(around.decode(encoding))
        except (UnicodeDecodeError, LookupError):
            continue
    readings: dict[str, str] = {}
    for encoding in sorted(odd, key=odd.__getitem__):  # of equal ones the likelier stays first
        reading = line.decode(encoding, errors="ignore").strip()
        if reading.isprintable() and reading not in readings.values():
            readings[encoding.replace("_", "-")] = reading[:50]
    if not readings:
        return said + ", nor is it a text in another encoding: it is damaged there."
    shown = "".join(f"\n  {encoding:<12} {text}" for encoding, text in list(readings.items())[:7])
    return (
        f"{said}. In other encodings the line reads:{shown}\nTake the one that "
        f"reads right. {_convert(name, next(iter(readings)))}"
    )


def _damaged_places(raw: bytes) -> int:
    r"""Return in how many places a text in UTF-8 is damaged, 0 for a text that is in none at all.

    In UTF-8 each sign beyond ASCII has two to four bytes that fit together. Text in another
    encoding has hardly any such groups, so many of them beside few misfits are no chance.

    Example:
        >>> _damaged_places("é é é é é é é é é é".encode() + b"\xff"), _damaged_places(b"caf\xe9")
        (1, 0)
    """
    text = raw.decode("utf-8", errors="replace")
    misfits = text.count("\N{REPLACEMENT CHARACTER}")
    signs = sum(not sign.isascii() for sign in text) - misfits
    return misfits if signs >= 9 * misfits else 0


_IN_A_WORD = re.compile(r"(?<=[^\W\d_])[^\w\s'\u2019.,:;!?/()-]+(?=[^\W\d_])")


# Single letters of Bopomofo and Hangul, narrow kana, signs of nobody; Hangul next to Han.
_RARE = re.compile(
    r"[\u3105-\u318e\uff61-\uff9f\ue000-\uf8ff]"
    r"|[\uac00-\ud7a3](?=[\u3041-\u30ff\u4e00-\u9fff])"
    r"|[\u3041-\u30ff\u4e00-\u9fff](?=[\uac00-\ud7a3])"
)


def _odd_places(text: str) -> int:
    """Return how often a sign or a capital stands inside a word, as it does in a wrong encoding.

    Signs that hardly any text has count, too.

    Example:
        >>> _odd_places("na•ve Gr¸fle бЮВЮ"), _odd_places("naïve Grüße, McCoy")
        (5, 1)
    """
    capitals = sum(a.isalpha() and b.isupper() for a, b in itertools.pairwise(text))
    return capitals + len(_IN_A_WORD.findall(text)) + len(_RARE.findall(text))


def _convert(name: str, encoding: str) -> str:
    code = _code(name, repr(encoding))
    return f"Save it as UTF-8 in your editor; or, into a new file, in Python: {code}"


def _code(name: str, how: str) -> str:
    stem, dot, ending = name.rpartition(".")
    new = f"{stem}.utf8.{ending}" if dot else f"{name}.utf8"
    return (
        f"from pathlib import Path; text = Path({name!r}).read_bytes().decode({how}); "
        f"Path({new!r}).write_text(text, 'utf-8')"
    )


# --- Project Gutenberg


# Seen in real files: "THE" and "THIS", "EBOOK" and "ETEXT", with and without the space after the
# stars, with the title broken over two lines; before 2000 the book began after the small print.
_MARKER = (
    r"^[ \t\u00a0]*\*{{3,}}[ \t]*{word} OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)"
    r"(?:(?!\*{{3}})[\s\S]){{0,300}}\*{{3,}}.*$"
)
_PROJECT = r"\b[^\n]{0,40}?\bPRO(?:JE[CK]?TO?|YECTO|GETTO|JEKTI)[ -]GUTENBERG.*$"
_START = re.compile(
    rf"{_MARKER.format(word='START')}|^[ \t]*\*END\*?[ \t]*THE SMALL PRINT!.*$"
    rf"|^[ \t]*\*{{3,}}[ \t]*(?:D[EÉ]BUT|BEGINN?|ANFANG|IN[IÍ]CIO|INIZIO|ALKU){_PROJECT}",
    re.I | re.M,
)
# "End of (the) Project Gutenberg EBook of Emma", "Ende dieses Projekt Gutenberg Etextes Faust",
# "Fin du Projet Gutenberg EBook de ..."; and where the small print begins.
_END = re.compile(
    rf"{_MARKER.format(word='END')}"
    rf"|^[ \t]*\**[ \t]*(?:END|ENDE|FIN|FINE|FIM|EINDE|SLUT|LOPPU|KONIEC|KONEC){_PROJECT}"
    r"|^[ \t]*\*{0,3}[ \t]*START[ \t]*\*{1,3}[ \t]*THE SMALL PRINT!.*$",
    re.I | re.M,
)
# A first paragraph of the book that thanks its makers: "Produced by An Anonymous Volunteer".
_CREDIT = re.compile(
    r"\A[(\[]?(?:(?:this )?(?:e-?text|e-?book) (?:was )?)?"
    r"(?:produced by|prepared by|transcribed by|scanned by|additional editing by|credits?:)"
    r"[^\n]*(?:\n(?![ \t]*\n)[^\n]*){0,4}(?:\n[ \t]*\n|\Z)",
    re.I,
)
_WORDS = ("Gutenberg", "GUTENBERG", "gutenberg", "SMALL PRINT", "Small Print", "small print")
_NAME = re.compile(r"GUTENBERG|ETEXT", re.I)
_GAP = 4_000  # characters of a licence, at most, without that name
_SHORT = 1_000  # so little beside a book is no book


def clean_gutenberg(raw: bytes | str) -> str:
    r"""Return the books inside a Project Gutenberg file: no mark, header, credits or licence.

    What is cut: everything up to the START line, everything from the END line up to the next
    START, "End of (the) Project Gutenberg ..." where it stands inside those, and a first paragraph
    of credits. What would be cut must look like it: a text in which such a line is only quoted
    stays. A file without any of them comes back as it is, but for the ends of its lines and the
    blank lines around the text. Cleaning a clean text changes nothing.

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
    # Most texts name neither, which is seen ten times as fast as that no line fits the patterns.
    named = any(word in text for word in _WORDS)
    return named and bool(_START.search(text) or _END.search(text))


def _cut_once(text: str) -> str:
    books = [_without_credit(book.strip()) for book in _books(text)]
    return "\n\n\n".join(book for book in books if book) + "\n" if any(books) else ""


def _without_credit(book: str) -> str:
    credit = _CREDIT.match(book)
    return book[credit.end() :].strip() if credit else book


def _books(text: str) -> Iterator[str]:
    """Yield what stands between the markers and is a book."""
    marks = [(found.start(), found.end(), True) for found in _START.finditer(text)]
    marks += [(found.start(), found.end(), False) for found in _END.finditer(text)]
    marks = [*sorted(marks), (len(text), len(text), True)]
    begin, opened = 0, False  # where the book begins that we are in, or None; whether by a START
    for (start, end, opens), (following, _, _) in itertools.pairwise(marks):
        if opens:
            if begin is not None and not _is_legal(text[begin:start], following - end):
                yield text[begin:start]  # a book without an end
            begin, opened = end, True
            continue
        rest = _after_licence(text[end:following], start - begin if begin is not None else 0)
        if begin is None:
            begin, opened = (following - len(rest), False) if rest else (None, False)
        elif len(rest) < following - end:  # there was a licence: here the book ends
            if opened or not _is_licence(text[begin:start]):
                yield text[begin:start]
            begin, opened = (following - len(rest), False) if rest else (None, False)
        # Else the line only quotes a marker, and the book goes on.
    if begin is not None:
        yield text[begin:]


def _after_licence(text: str, book: int) -> str:
    """Return what follows the licence that a text behind a book begins with."""
    return "" if _is_legal(text, book) else text[_licence_end(text) :]


def _is_legal(text: str, book: int) -> bool:
    """Return whether a text beside a book of so many characters is its header or licence."""
    return len(text) <= max(_SHORT, min(book // 4, _GAP)) or _is_licence(text)


def _is_licence(text: str) -> bool:
    end = _licence_end(text)
    return 0 < end and len(text) - end <= _SHORT


def _licence_end(text: str) -> int:
    """Return where a licence ends that a text begins with: it names Gutenberg again and again."""
    end = count = 0
    for found in _NAME.finditer(text):
        if found.start() - end > _GAP:
            break
        end, count = found.end(), count + 1
    paragraph = text.find("\n\n", end)
    return 0 if count < 2 else len(text) if paragraph < 0 else paragraph
