"""A list of what a folder must hold, with sizes and fingerprints, so that damage is noticed.

Lesson: notebook 10.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from bhushgpt.errors import UserError
from bhushgpt.files import flush, open_regular, sha256

FORMAT = 2
READABLE = (1, 2)
MANIFEST = "manifest.json"
# A list of files is short. What is longer is no manifest and is not read.
LONGEST = 2**20


def write_manifest(folder: Path) -> None:
    """Write `manifest.json` over the files now in a folder, and see everything onto the disk.

    It is written last: a folder without one is a save that was interrupted.

    Lesson: notebook 10.
    """
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = {name.as_posix(): fingerprint(folder / name) for name in names}
    for name in names:
        flush(folder / name)
    contents = {"format": FORMAT, "files": files}
    # The list vouches for the files; this vouches for the list.
    text = json.dumps(contents | {"sha256": _digest(contents)}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")
    flush(folder / MANIFEST)
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        flush(inner)
    flush(folder)


def fingerprint(file: Path) -> dict[str, Any]:
    """Return a file's size in bytes and its sha256.

    Raises:
        UserError: If it is not an ordinary file.

    Lesson: notebook 10.
    """
    with open_regular(file) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"bytes": stream.tell(), "sha256": digest}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder, itself checked: `format` and `files`.

    Raises:
        UserError: If it is unreadable, changed, or of a version that is not known here.

    Lesson: notebook 10.
    """
    try:
        with open_regular(folder / MANIFEST) as stream:
            manifest = json.loads(stream.read(LONGEST).decode("utf-8"))
        version, files = manifest["format"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / MANIFEST} is damaged or missing. {way_out(folder)}") from error
    if version not in READABLE or isinstance(version, bool):
        raise UserError(
            f"{folder} has checkpoint format {version!r}; this version of bhushgpt reads "
            f"{' and '.join(map(str, READABLE))}. It was written by a newer one, or changed: "
            "update bhushgpt, or take another checkpoint."
        )
    contents = {"format": version, "files": files}
    if version > 1 and manifest.get("sha256") != _digest(contents):
        raise UserError(f"{folder / MANIFEST} is damaged: it was changed. {way_out(folder)}")
    return contents


def verify_manifest(folder: Path) -> dict[str, Any]:
    """Compare every file of the manifest with what lies beside it, and return the manifest.

    Args:
        folder: The folder that `write_manifest` was called on.

    Raises:
        UserError: If the manifest is unreadable or of another version, or a file is missing,
            not listed, or not what was saved. The message names the file and says what is wrong.

    Lesson: notebook 10.
    """
    manifest = read_manifest(folder)
    files = manifest["files"]
    for name in files:
        _verify_file(folder, name, files[name])
    return manifest


def _verify_file(folder: Path, name: str, saved: Any) -> None:
    file = folder / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UserError(f"{folder / MANIFEST} lists {name!r}, which lies outside its folder.")
    try:
        if not file.exists():
            raise UserError(f"{file} is missing. {way_out(folder)}")
        if not file.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{file} is a link out of its folder, so it is not read.")
        _compare(file, saved, way_out(folder))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{file} cannot be read: {reason}. {way_out(folder)}") from error


def _compare(file: Path, saved: Any, way_out: str) -> None:
    expected = saved.get("bytes") if isinstance(saved, dict) else None
    size = file.stat().st_size
    if file.is_file() and size != expected:
        found = "empty" if size == 0 else f"damaged: it has {size:,} bytes"
        wanted = f"{expected:,}" if isinstance(expected, int) else repr(expected)
        raise UserError(f"{file} is {found} and should have {wanted}. It was not loaded. {way_out}")
    if fingerprint(file) != saved:
        raise UserError(
            f"{file} is damaged: its content is not what was saved (its sha256 is another). "
            f"It was not loaded. {way_out}"
        )


def way_out(folder: Path) -> str:
    """Return the sentence that says which checkpoint can be used instead of a damaged one.

    Lesson: notebook 10.
    """
    others = sorted(path.parent.name for path in folder.parent.glob(f"step_*/{MANIFEST}"))
    earlier = [name for name in others if name < folder.name]
    if earlier:
        return f"Use the checkpoint before it instead: {folder.parent / earlier[-1]}."
    return "The run has no earlier checkpoint, so it must be trained again."


def _digest(contents: dict[str, Any]) -> str:
    return sha256(json.dumps(contents, sort_keys=True).encode("utf-8"))
