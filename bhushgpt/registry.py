"""The texts that the course knows by name, and how to tell the right one from a wrong one.

Lesson: notebook 03.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bhushgpt.cleaning import clean_gutenberg, decode_text
from bhushgpt.downloads import DownloadError, fetch_from_wheel, fetch_url, read_member
from bhushgpt.errors import UserError
from bhushgpt.files import read_file
from bhushgpt.folders import project_root


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that a text comes from, and the rule that cuts the text out of what comes.

    Lesson: notebook 03.
    """

    files: Sequence[str]
    """Names under which a folder of the learner's own may hold what this source serves."""
    rule: str = "plain"
    """plain, between, gutenberg or stories."""
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


@dataclass(frozen=True, kw_only=True)
class CorpusEntry:
    """What the registry says about one text.

    Lesson: notebook 03.
    """

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

    Lesson: notebook 03.
    """
    # An installed package carries its own copy of the registry.
    installed = Path(__file__).with_name("corpora.toml")
    checkout = project_root() / "datasets" / "corpora.toml"
    file = installed if installed.is_file() else checkout
    return {
        name: _entry(name, data) for name, data in tomllib.loads(file.read_text("utf-8")).items()
    }


def _entry(name: str, data: dict[str, Any]) -> CorpusEntry:
    try:
        fields = dict(data)
        sources = tuple(Source(**source) for source in fields.pop("sources"))
        return CorpusEntry(name=name, sources=sources, **fields)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"The entry {name!r} of corpora.toml cannot be read ({error}). Put the file back as "
            "the course has it."
        ) from error
