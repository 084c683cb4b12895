"""Pages and archives that tests make themselves, in the layout of the public archive."""

import io
import lzma
import os
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

WORDS = "the of a Holmes said Watson door night letter king é über 日本 !? 1889 \t".split(" ")
REAL = "urlsf_subset00.tar"


def make_pages(count: int, seed: int = 0) -> list[str]:
    """Return different texts, one of them with the special token's name and one with tabs."""
    chance = random.Random(seed)
    pages = [" ".join(chance.choices(WORDS, k=chance.randrange(5, 120))) for _ in range(count)]
    pages[0] += " <|endoftext|> "
    return [f"page {seed}.{number}\n{page}\n" for number, page in enumerate(pages)]


def tar(members: Sequence[tuple[str, bytes]], mode: Literal["w", "w:xz"] = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def shard(pages: Sequence[str], first: int = 0) -> bytes:
    """Return pages as one .xz archive."""
    members = [(f"{first + n:07}-0.txt", page.encode()) for n, page in enumerate(pages)]
    return lzma.compress(tar(members))


def openwebtext(path: Path, pages: Sequence[str], a_shard: int = 20) -> Path:
    """Write pages as the public archive has them: a tar of .xz archives of .txt files."""
    starts = range(0, len(pages), a_shard)
    members = [
        (f"openwebtext/urlsf_subset00-{n}_data.xz", shard(pages[start : start + a_shard], start))
        for n, start in enumerate(starts, start=1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar(members))
    return path


def real_pages() -> Path:
    """Return the archive with real pages, or skip the test where it is not to be had."""
    folder = os.environ.get("BHUSHGPT_DATA")
    if not folder or not (Path(folder) / REAL).is_file():
        pytest.skip(f"{REAL}, real web pages, is not in BHUSHGPT_DATA; made-up ones are tested.")
    return Path(folder) / REAL
