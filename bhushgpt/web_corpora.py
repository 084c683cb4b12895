"""A corpus by name: from the learner's folder, the cache, the hub, or the stand-in.

Lesson: notebook 13.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bhushgpt.corpus import load_text
from bhushgpt.disk_space import check_room
from bhushgpt.downloads import DownloadError
from bhushgpt.errors import UserError, nearest
from bhushgpt.folders import cache_folder
from bhushgpt.hub_datasets import HubFile, hub_files
from bhushgpt.large_downloads import download
from bhushgpt.registry import corpora
from bhushgpt.shard_search import find_shards
from bhushgpt.stand_in import TITLE, cut_pages, kept, stand_in

OPENWEBTEXT = "openwebtext"
DATASET = "Skylion007/openwebtext"
# The state of the data set that still has the original archives (later ones have parquet files).
REVISION = "f3808c30e817981b845ec549c43e82bb467d8144"
FOLDER = "subsets"


@dataclass
class Source:
    """Where a corpus lies, once it lies on this disk.

    Lesson: notebook 13.
    """

    title: str
    places: list[Path] = field(default_factory=list)
    notice: str = ""
    """What a learner should know about it; mostly empty."""


def openwebtext(shards: int | None = None) -> Iterator[str | Source]:
    """Yield lines about a download while it goes on, and last of all the source.

    Looked at in this order: the folder BHUSHGPT_DATA, the cache, the hub at a pinned revision;
    where nothing can be had, the stand-in, and its notice says so.

    Args:
        shards: How many shards are wanted: only the archives that hold them are fetched.

    Raises:
        UserError: If a download that had begun cannot be finished, or not even the stand-in can
            be had.

    Lesson: notebook 13.
    """
    own = os.environ.get("BHUSHGPT_DATA")
    if own and (found := sorted(Path(own).expanduser().glob("urlsf_subset*.tar"))):
        yield Source("OpenWebText", found, f"{len(found)} of its 21 archives, from BHUSHGPT_DATA.")
        return
    store = cache_folder() / OPENWEBTEXT
    try:
        files = hub_files(DATASET, REVISION, FOLDER)
    except DownloadError as error:
        if found := sorted(store.glob("urlsf_subset*.tar")):
            notice = f"{len(found)} of its 21 archives, from the cache ({error})."
            yield Source("OpenWebText", found, notice)
            return
        notice = f"OpenWebText itself could not be had ({error}). This is a {TITLE}."
        yield Source(TITLE, [stand_in()], notice)
        return
    source = Source("OpenWebText")
    for file in files:
        yield from _fetch(file, store / Path(file.name).name)
        source.places.append(store / Path(file.name).name)
        if shards and len(find_shards(source.places).shards) >= shards:
            break
    yield source


def _fetch(file: HubFile, path: Path) -> Iterator[str]:
    if not path.exists():
        check_room(path.parent, file.size, f"The archive {path.name}")
    try:
        for there in download(file.urls, path, file.sha256, file.size):
            yield f"{path.name}: {there / 1e6:,.0f} of {file.size / 1e6:,.0f} MB"
    except DownloadError as error:
        raise DownloadError(
            f"{error}\nWhat has come is kept: the same command goes on from there."
        ) from None


def named_text(name: str) -> Source:
    """Return a text of the registry as an archive of pages.

    Raises:
        UserError: If there is no text of that name.

    Lesson: notebook 13.
    """
    if name not in corpora():
        names = [OPENWEBTEXT, *corpora()]
        raise UserError(
            f"There is no corpus, file or folder {name!r}. {nearest(name, names)} For texts of "
            "your own give a file or a folder."
        )
    book = load_text(name)
    file = cache_folder() / "pages" / f"{name}-{book.sha256[:16]}.tar"
    return Source(book.title, [kept(file, lambda: cut_pages(book.text))], book.notice)
