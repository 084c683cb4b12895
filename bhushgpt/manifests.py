"""A list of what a folder must hold, with sizes and fingerprints, so that damage is noticed.

Lesson: notebook 10.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bhushgpt.errors import UserError

FORMAT = 1
MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write `manifest.json` over the files now in a folder.

    It is written last: a folder without one is a save that was interrupted.

    Lesson: notebook 10.
    """
    files = {file.name: fingerprint(file) for file in sorted(folder.iterdir())}
    text = json.dumps({"format": FORMAT, "files": files}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def fingerprint(file: Path) -> dict[str, Any]:
    """Return a file's size in bytes and its sha256.

    Lesson: notebook 10.
    """
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def verify_manifest(folder: Path, names: Iterable[str]) -> None:
    """Compare files with the manifest beside them.

    Args:
        folder: The folder that `write_manifest` was called on.
        names: The files that are about to be read.

    Raises:
        UserError: If the manifest is unreadable or of another version, or a file is missing or
            not what was saved.

    Lesson: notebook 10.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version, files = manifest["format"], dict(manifest["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / MANIFEST} is damaged. {_way_out(folder)}") from error
    if version != FORMAT:
        raise UserError(
            f"{folder} has checkpoint format {version}; this version of bhushgpt reads {FORMAT}."
        )
    for file in (folder / name for name in names):
        if not file.is_file():
            raise UserError(f"{file} is missing. {_way_out(folder)}")
        if fingerprint(file) != files.get(file.name):
            raise UserError(
                f"{file} is damaged: its content is not what was saved. It was not loaded. "
                f"{_way_out(folder)}"
            )


def _way_out(folder: Path) -> str:
    others = sorted(path.parent.name for path in folder.parent.glob(f"step_*/{MANIFEST}"))
    earlier = [name for name in others if name < folder.name]
    if earlier:
        return f"Remove the folder {folder} to use the checkpoint before it, {earlier[-1]}."
    return "The run has no earlier checkpoint, so it must be trained again."
