"""Archives in exactly OpenWebText's layout, made from books that every machine can get.

OpenWebText is 13 GB away. Where there is no network, the three other books of the wheel that
brings Sherlock Holmes are cut into pages and packed as the real pages are: a tar of .xz archives,
each a tar of .txt files.

Lesson: notebook 13.
"""

import dataclasses
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bhushgpt.downloads import cached
from bhushgpt.files import sha256, write_atomically
from bhushgpt.folders import cache_folder
from bhushgpt.registry import Source, corpora

TITLE = "Stand-in for OpenWebText (pages cut from three books)"
PAGE_CHARACTERS = 4_000
PAGES_A_SHARD = 100  # the real ones hold about 400
BOOKS = (
    ("THIS PROJECT GUTENBERG EBOOK HISTORY OF THE UNITED STATES"),
    ("THIS PROJECT GUTENBERG EBOOK MANUAL OF SURGERY"),
    ("THE PROJECT GUTENBERG EBOOK, WAR AND PEACE"),
)


def stand_in(folder: Path | None = None) -> Path:
    """Return the stand-in's archive, made if it is not there yet.

    Args:
        folder: Where to keep it; the course's cache if left out.

    Raises:
        UserError: If the wheel can be had from nowhere.

    Lesson: notebook 13.
    """
    file = (folder or cache_folder()) / "openwebtext_stand_in" / "urlsf_subset00.tar"
    return kept(file, lambda: (page for book in _books() for page in cut_pages(book)))


def kept(file: Path, make) -> Path:  # type: ignore[no-untyped-def]
    """Return an archive of pages that was made earlier, or make it.

    Args:
        file: The archive. Its fingerprint is kept beside it, so a damaged one is made again.
        make: Gives the pages.

    Lesson: notebook 13.
    """
    note = file.with_name(file.name + ".sha256")
    if file.is_file() and note.is_file() and sha256(file.read_bytes()) == note.read_text("utf-8"):
        return file
    data = pack_pages(make())
    write_atomically(file, data)
    write_atomically(note, sha256(data).encode())
    return file


def cut_pages(text: str, characters: int = PAGE_CHARACTERS) -> Iterator[str]:
    r"""Yield a text in pages of about so many characters, cut between lines.

    Example:
        >>> list(cut_pages("one\ntwo\nthree\n", characters=6))
        ['one\ntwo\n', 'three\n']

    Lesson: notebook 13.
    """
    page: list[str] = []
    length = 0
    for line in text.splitlines(keepends=True):
        page.append(line)
        length += len(line)
        if length >= characters:
            yield "".join(page)
            page, length = [], 0
    if "".join(page).strip():
        yield "".join(page)


def pack_pages(pages: Iterable[str], a_shard: int = PAGES_A_SHARD) -> bytes:
    """Return pages in the layout of the public archive.

    Lesson: notebook 13.
    """
    shards, batch = [], []
    for number, page in enumerate(pages):
        data = page.encode("utf-8")
        # As in the real archive: a running number and the page's md5.
        mark = hashlib.md5(data, usedforsecurity=False).hexdigest()
        batch.append((f"{number:07}-{mark}.txt", data))
        if len(batch) == a_shard:
            shards.append(_tar(batch, "w:xz"))
            batch = []
    if batch:
        shards.append(_tar(batch, "w:xz"))
    names = (f"openwebtext/urlsf_subset00-{n}_data.xz" for n in range(1, len(shards) + 1))
    return _tar(list(zip(names, shards, strict=True)), "w:")


def _tar(members: Sequence[tuple[str, bytes]], mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _books() -> Iterator[str]:
    """Yield the books beside Sherlock Holmes in the file that brings him."""
    source = next(s for s in corpora()["sherlock"].sources if s.requirement)
    data = _whole_file(source)
    for title in BOOKS:
        start, end = f"*** START OF {title} ***", f"*** END OF {title} ***"
        book = dataclasses.replace(source, start=start, end=end)
        yield book.text(data, "big.txt")


def _whole_file(source: Source) -> bytes:
    own = os.environ.get("BHUSHGPT_DATA")
    for file in (Path(own).expanduser() / name for name in source.files) if own else ():
        if file.is_file() and sha256(data := source.unpack(file)) == source.member_sha256:
            return data
    return cached(cache_folder() / "big.txt", source.member_sha256, partial(source.fetch))
