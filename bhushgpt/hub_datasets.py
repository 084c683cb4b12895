"""The files of a data set on the Hugging Face hub at one revision, with their fingerprints.

Lesson: notebook 13.
"""

import os
from dataclasses import dataclass

import requests

from bhushgpt.downloads import URL_SECONDS, DownloadError
from bhushgpt.web_answers import web_reason

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class HubFile:
    """A file of a data set.

    Lesson: notebook 13.
    """

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

    Lesson: notebook 13.
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
