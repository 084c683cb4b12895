"""The texts that the course knows by name, and how each is had: the registered edition first.

`datasets/corpora.toml` says of each text where it comes from, how it is cut out of what comes, and
how to tell the right one from a wrong one. Another edition is taken only at need, and said.

Lesson: notebook 03.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from bhushgpt.environment import cache_folder, named_folder, project_root
from bhushgpt.errors import UserError
from bhushgpt.files import read_file, sha256, write_atomically
from bhushgpt.sources.cleaning import clean_gutenberg, decode_text
from bhushgpt.sources.downloads import DownloadError, fetch_from_wheel, fetch_url, read_member


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place that a text comes from, and the rule that cuts the text out of what comes."""

    files: Sequence[str]
    """Names under which a folder of the learner's own may hold what this source serves."""
    rule: Literal["plain", "between", "gutenberg", "stories"] = "plain"
    start: str = ""
    """Rule "between": the line before the text."""
    end: str = ""
    """Rule "between": the line after it."""
    requirement: str = ""
    """Name and version of a wheel of the package index."""
    wheel_sha256: str = ""
    member: str = ""
    """Path of the file inside the wheel."""
    member_sha256: str = ""
    url: str = ""
    says: str = ""
    """Words that another edition must hold to be accepted; empty: no other edition is."""
    between: Sequence[int] = (0, 0)
    """Characters that another edition has, at least and at most."""

    @property
    def address(self) -> str:
        """The source in words: what a message and a list show."""
        if self.requirement:
            return f"{Path(self.member).name} in the package index's wheel {self.requirement}"
        return self.url

    def fetch(self) -> bytes:
        """Return the bytes that the source serves.

        Raises:
            DownloadError: If it cannot be reached or serves something else.
        """
        if self.url:
            return fetch_url(self.url)
        return fetch_from_wheel(
            self.requirement,
            wheel_sha256=self.wheel_sha256,
            member=self.member,
            member_sha256=self.member_sha256,
        )

    def unpack(self, file: Path) -> bytes:
        """Return the bytes that the source serves from a copy of it in the learner's folder.

        Raises:
            DownloadError: If the copy is damaged.
        """
        data = read_file(file)
        if file.suffix == ".whl":
            return read_member(data, self.member, self.member_sha256)
        return data

    def text(self, data: bytes, name: str) -> str:
        """Return the text by the source's rule.

        Raises:
            UserError: If the bytes are no UTF-8 text.
            DownloadError: If the marker lines are missing.
        """
        text = decode_text(data, name)
        if self.rule == "gutenberg":
            return clean_gutenberg(text)
        if self.rule == "stories":
            return re.sub(r"\s*<\|endoftext\|>\s*", "\n\n", text).strip() + "\n"
        if self.rule == "between":
            _, start, rest = text.partition(self.start + "\n")
            body, end, _ = rest.partition(self.end)
            if not (start and end):
                raise DownloadError(f"{name} lacks the lines that mark where the text lies")
            return body
        return text

    def check_other_edition(self, data: bytes, text: str) -> None:
        """Accept another edition by its title and length.

        Raises:
            DownloadError: If it is another text altogether.
        """
        least, most = self.between
        if not self.says:
            raise DownloadError("it is another text (its sha256 is not the registered one)")
        if self.says.casefold() not in data.decode("utf-8", errors="replace").casefold():
            raise DownloadError(f"it is another text: nowhere does it say {self.says!r}")
        if not least <= len(text) <= most:
            raise DownloadError(
                f"it has {len(text):,} characters; an edition of this text has "
                f"between {least:,} and {most:,}"
            )


class CorpusEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the registry says about one text."""

    name: str
    title: str
    author: str
    licence: str
    about: str
    sha256: str
    """Fingerprint of the course's edition: the clean text as UTF-8."""
    characters: int
    distinct: int
    """How many different characters that edition has."""
    sources: tuple[Source, ...]


def corpora() -> dict[str, CorpusEntry]:
    """Return every registered text by its name.

    Example:
        >>> corpora()["sherlock"].author, corpora()["sherlock"].distinct
        ('Arthur Conan Doyle', 79)
    """
    file = project_root() / "datasets" / "corpora.toml"
    return {
        name: _entry(name, data) for name, data in tomllib.loads(file.read_text("utf-8")).items()
    }


def _entry(name: str, data: Any) -> CorpusEntry:
    try:
        return msgspec.convert({**data, "name": name}, CorpusEntry)
    except (TypeError, msgspec.ValidationError) as error:
        raise UserError(
            f"The entry {name!r} of corpora.toml cannot be read ({error}). Put the file back as "
            "the course has it."
        ) from None


@dataclass(frozen=True)
class Edition:
    """A text, where this copy of it was found, and what to say about it."""

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
    own = named_folder("BHUSHGPT_DATA")
    plain = Source(files=(f"{entry.name}.txt",))
    for source in (plain, *entry.sources):
        for name in source.files:
            file = (own or Path()) / name
            if own is not None and file.is_file():
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
    own = named_folder("BHUSHGPT_DATA")
    if own is not None and not own.is_dir():
        tried = [f"BHUSHGPT_DATA names {own}, and there is no such folder", *tried]
    places = "".join(f"\n- {line}" for line in tried)
    return (
        f"{entry.title} could not be had from any source:{places}\n"
        f"By hand: put {names} (or the clean text as {entry.name}.txt) into a folder, set the "
        "environment variable BHUSHGPT_DATA to that folder, and try again."
    )
