"""A large file from the web: gone on with where it stopped, checked, and whole or not there.

Lesson: notebook 13.
"""

import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import requests

from bhushgpt.downloads import URL_SECONDS, DownloadError
from bhushgpt.web_answers import is_web_page, web_reason

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

    Lesson: notebook 13.
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
