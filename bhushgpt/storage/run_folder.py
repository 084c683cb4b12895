"""A run's folder, in which every checkpoint is whole, whatever happens while one is written.

    run/
      step_00000100/    a checkpoint: files, and a manifest that vouches for them
      step_00000200/
      last, best        files of one line: the names of two of them
      .lock             while a run is writing

While a checkpoint is made or goes, it has a hidden name that says what it is:

    .step_00000200.1234.new.tmp    being written by process 1234
    .step_00000200.1234.old.tmp    the one it takes the place of, for the moment between two names
    .step_00000200.1234.gone.tmp   being deleted

A name is given in one step, and the manifest is written last. So a folder without one is a save
that never ended, and what a kill leaves is known by its name and cleared up by the next start.

Lesson: notebook 11.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NotRequired, TypedDict

from safetensors import SafetensorError

from bhushgpt.environment import command, written_out
from bhushgpt.errors import UserError, is_whole
from bhushgpt.files import (
    NoRoom,
    check_room,
    flush,
    free_bytes,
    is_full,
    look_alike,
    megabytes,
    of_kind,
    one_writer,
    open_regular,
    read_json,
    sha256,
    write_atomically,
)

LAST, BEST = "last", "best"
STEP_NAME = re.compile(r"step_\d{8,}")


def point(folder: Path, link: str, name: str) -> None:
    r"""Let `folder/link` mean `folder/name`, in one step: it is never missing or half made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     run = Path(name)
    ...     (run / "step_00000007").mkdir()
    ...     point(run, "best", "step_00000007")
    ...     (run / "best").read_text(), followed(run, "best").name
    ('step_00000007\n', 'step_00000007')
    """
    place = folder / link
    if (place / MANIFEST).is_file() and not place.is_symlink():
        # A copy of a checkpoint (see `followed`), in the place of the name.
        gone = hidden(folder, link, "gone")
        place.replace(gone)
        remove(gone)
    write_atomically(place, f"{name}\n".encode())


def followed(folder: Path, link: str) -> Path | None:
    """Return the checkpoint that `folder/link` means, or nothing if there is none.

    A link to anything but a checkpoint's folder beside it is not followed. Where a copy of the run
    has lost the file `best`, or what stood in it, the manifests say which it is.
    """
    place = folder / link
    name = ""
    with contextlib.suppress(OSError, ValueError):
        if place.is_symlink():  # as earlier versions wrote it
            name = os.readlink(place)
        elif (place / MANIFEST).is_file():  # somebody copied the run with its links followed
            return _twin(place) or place
        elif place.is_file():
            with place.open(encoding="utf-8") as stream:
                name = stream.read(100).strip()
    found = folder / name
    if STEP_NAME.fullmatch(name) and found.is_dir():
        return found
    lost = not os.path.lexists(place) or (place.is_file() and not place.is_symlink())
    return _best_by_manifest(folder) if link == BEST and lost else None


def _twin(copy: Path) -> Path | None:
    """Return the checkpoint beside a folder that is a copy of it."""
    text = (copy / MANIFEST).read_bytes()
    same = (p for p in list_checkpoints(copy.parent) if (p / MANIFEST).read_bytes() == text)
    return next(same, None)


def _best_by_manifest(folder: Path) -> Path | None:
    """Return the last checkpoint that was the best so far when it was saved."""
    for path in reversed(list_checkpoints(folder)):
        with contextlib.suppress(UserError):
            if read_manifest(path).get("best"):
                return path
    return None


FORMAT = 1
MANIFEST = "manifest.json"


class FileFacts(TypedDict):
    """What a manifest says of one file."""

    bytes: int
    sha256: str


class Manifest(TypedDict):
    """What a folder must hold, so that damage is noticed."""

    format: int
    files: dict[str, FileFacts]
    best: NotRequired[bool]
    sha256: str


def write_manifest(
    folder: Path, *, best: bool = False, known: Mapping[str, FileFacts] | None = None
) -> None:
    """Write `manifest.json` over the files now in a folder, and see everything onto the disk.

    It is written last: a folder without one is a save that was interrupted.

    Args:
        folder: A checkpoint in the making.
        best: Whether it is the best so far; a copy of the run without the file `best` still knows.
        known: What is known of some files already, from writing them; these are not read.
    """
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    known = known or {}
    files = {n.as_posix(): known.get(n.as_posix()) or fingerprint(folder / n) for n in names}
    for name in names:
        flush(folder / name)
    contents = {"format": FORMAT, "files": files} | ({"best": True} if best else {})
    # The list vouches for the files; this vouches for the list.
    text = json.dumps(contents | {"sha256": _digest(contents)}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")
    flush(folder / MANIFEST)
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        flush(inner)
    flush(folder)


def fingerprint(file: Path) -> FileFacts:
    """Return a file's size in bytes and its sha256.

    Raises:
        UserError: If it is not an ordinary file.
    """
    with open_regular(file) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"bytes": stream.tell(), "sha256": digest}


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder, itself checked.

    Raises:
        UserError: If it is unreadable, changed, or of a format that is not known here.
    """
    try:
        found = read_json(folder / MANIFEST, dict[str, Any])
        version = found["format"]
        if type(version) is int and version == FORMAT:
            manifest = of_kind(found, Manifest, str(folder / MANIFEST))
            contents = {name: value for name, value in found.items() if name != "sha256"}
            if manifest["sha256"] == _digest(contents):
                return manifest
            raise UserError("It was changed.")
    except (UserError, KeyError) as error:
        raise UserError(f"{folder / MANIFEST} is damaged or missing. {way_out(folder)}") from error
    raise UserError(
        f"{folder} has checkpoint format {version!r}; this version of bhushgpt reads {FORMAT}. It "
        "was written by a newer one, or changed: update bhushgpt, or take another checkpoint."
    )


def verify_manifest(folder: Path, *, skip: Collection[str] = ()) -> Manifest:
    """Compare every file of the manifest with what lies beside it, and return the manifest.

    Args:
        folder: The folder that `write_manifest` was called on.
        skip: Files that will not be read, and so need not be whole.

    Raises:
        UserError: If the manifest is unreadable or of another version, or a file is missing,
            not listed, or not what was saved. The message names the file and says what is wrong.
    """
    manifest = read_manifest(folder)
    files = manifest["files"]
    for name in files:
        if name not in skip:
            _verify_file(folder, name, files[name])
    return manifest


def _verify_file(folder: Path, name: str, saved: FileFacts) -> None:
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


def _compare(file: Path, saved: FileFacts, way_out: str) -> None:
    size = file.stat().st_size
    if file.is_file() and size != saved["bytes"]:
        found = "empty" if size == 0 else f"damaged: it has {size:,} bytes"
        raise UserError(
            f"{file} is {found} and should have {saved['bytes']:,}. It was not loaded. {way_out}"
        )
    if fingerprint(file) != saved:
        raise UserError(
            f"{file} is damaged: its content is not what was saved (its sha256 is another). "
            f"It was not loaded. {way_out}"
        )


def way_out(folder: Path) -> str:
    """Return the sentence that says which checkpoint can be used instead of a damaged one."""
    others = sorted(path.parent.name for path in folder.parent.glob(f"step_*/{MANIFEST}"))
    earlier = [name for name in others if name < folder.name]
    if earlier:
        return f"Use the checkpoint before it instead: {folder.parent / earlier[-1]}."
    return "The run has no earlier checkpoint, so it must be trained again."


def _digest(contents: dict[str, Any]) -> str:
    return sha256(json.dumps(contents, sort_keys=True).encode("utf-8"))


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name.

    >>> step_of(Path("run/step_00000200"))
    200
    """
    return int(checkpoint.name.removeprefix("step_"))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run's folder, oldest first."""
    return [path for path in _candidates(folder) if (path / MANIFEST).is_file()]


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest complete checkpoint of a run's folder.

    Raises:
        UserError: If there is none.
    """
    found = list_checkpoints(folder)
    if not found and (question := look_alike(folder)):
        raise UserError(f"There is no folder {folder}.{question}")
    if not found:
        raise UserError(
            f"There is no checkpoint in {folder}: no folder step_... with a {MANIFEST} in it. "
            f"Name the folder of a run, or train a new one: {command('train')}"
        )
    return found[-1]


def newest_good_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """Return the newest checkpoint whose files are all as they were saved.

    Returns:
        Its folder, and a sentence for each newer one that is incomplete or damaged.

    Raises:
        UserError: If none is good; the message says what is wrong with each.
    """
    notices: list[str] = []
    for path in reversed(_candidates(folder)):
        problem = _problem(path)
        if problem is None:
            if notices:
                notices.append(f"{path.name} is whole: the run goes on from there.")
            return path, notices
        notices.append(problem)
    if notices:
        raise UserError(
            f"No checkpoint in {folder} can be used. {' '.join(notices)} Train a new run."
        )
    return latest_checkpoint(folder), []  # says that there is none


def set_aside_after(folder: Path, step: int) -> list[str]:
    """Rename the checkpoints after a step, for a run that goes on from there on another way.

    Nothing is deleted: `step_00000300` becomes `aside_1_step_00000300`, which no command takes for
    a checkpoint of the run.

    Returns:
        A sentence for each. A link to one of them is taken away.
    """
    sentences = []
    for path in _candidates(folder):
        if step_of(path) <= step:
            continue
        number = 1
        while (aside := folder / f"aside_{number}_{path.name}").exists():
            number += 1
        for link in (LAST, BEST):
            if followed(folder, link) == path:
                remove(folder / link)
        path.replace(aside)
        sentences.append(f"{path.name} comes after step {step}; it is now called {aside.name}.")
    here = folder / f"step_{step:08d}"
    if sentences and here.is_dir():
        point(folder, LAST, here.name)
    return sentences


def _candidates(folder: Path) -> list[Path]:
    """Return the folders with a checkpoint's name, complete or not, oldest first."""
    found = (path for path in folder.glob("step_*") if STEP_NAME.fullmatch(path.name))
    return sorted(found, key=step_of)


def _problem(path: Path) -> str | None:
    """Return why a checkpoint cannot be used, if it cannot."""
    if not (path / MANIFEST).exists():
        return f"{path.name} has no {MANIFEST}: it was never finished, and is ignored."
    try:
        verify_manifest(path)
    except UserError as error:
        return f"{path.name} cannot be used: {error}"
    return None


HIDDEN = re.compile(r"\.(step_\d{8,})\.\d+\.(new|old|gone)\.tmp")
# Also: names and records on their way, and a second copy of a checkpoint that goes.
LEFT = re.compile(r"\.step_\d{8,}\..*tmp|\.(last|best)\..+|\..+\.(json|jsonl|png)\.[a-z0-9_]{8}")


def hidden(folder: Path, name: str, kind: str) -> Path:
    """Return the name that a checkpoint has while it is `new`, `old` or `gone`."""
    return folder / f".{name}.{os.getpid()}.{kind}.tmp"


def sweep(folder: Path) -> list[str]:
    """Clear up what saves that were killed have left, and return a sentence for each thing.

    A save that was complete but for its name gets its name. The folder must be locked: a save in
    progress looks the same.
    """
    found = sorted(path for path in folder.iterdir() if LEFT.fullmatch(path.name))
    # What is new before what is old: it is the later one.
    found.sort(key=lambda path: ".new." not in path.name)
    return [_swept(folder, path) for path in found]


def _swept(folder: Path, path: Path) -> str:
    match = HIDDEN.fullmatch(path.name)
    if match and match[2] != "gone" and not (folder / match[1]).exists() and _is_whole(path):
        path.replace(folder / match[1])
        flush(folder)
        return f"The save of {match[1]} had been stopped just before its end; it is complete now."
    size = _size(path)
    if not remove(path):
        return f"{path} was left by a save that was stopped, and cannot be removed. Remove it."
    return f"Removed {path.name} ({size:,} bytes), left by a save that was stopped."


def remove(path: Path) -> bool:
    """Remove a file, a link or a folder with all that is in it; return whether it is gone."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return not os.path.lexists(path)


def _is_whole(folder: Path) -> bool:
    try:
        verify_manifest(folder)
    except (UserError, OSError):
        return False
    return True


def _size(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


@contextmanager
def new_checkpoint(
    folder: Path,
    step: int,
    *,
    keep: int = 2,
    best: bool = False,
    needed: int = 0,
    known: Mapping[str, FileFacts] | None = None,
) -> Iterator[Path]:
    """Make a checkpoint: write its files into the folder you are given, and leave the `with`.

    Then everything is flushed to the disk, the manifest is written, the folder gets its name, the
    links are set and older checkpoints go. If anything fails before that, or an error leaves the
    `with`, it is as if nothing had been tried.

    Args:
        folder: The run's folder; made if need be, and locked meanwhile.
        step: Names the checkpoint.
        keep: How many checkpoints to keep; `best` and `last` stay besides.
        best: Whether this is the best so far.
        needed: Bytes that will be written, if known; checked first.
        known: Filled inside the `with`: see `write_manifest`.

    Yields:
        A temporary folder.

    Raises:
        UserError: If it cannot be written; a `NoRoom` if the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     with new_checkpoint(Path(name), step=7) as temporary:
    ...         _ = (temporary / "notes.txt").write_text("all is well")
    ...     sorted(path.name for path in Path(name).glob("*/*") if not path.parent.is_symlink())
    ['manifest.json', 'notes.txt']
    """
    if not (is_whole(keep) and keep >= 1):
        raise UserError(f"keep is {keep}: at least 1 checkpoint must be kept.")
    folder = written_out(folder).absolute()  # whatever folder the caller changes to meanwhile
    name = f"step_{step:08d}"
    temporary = hidden(folder, name, "new")
    with one_writer(folder):
        try:
            sweep(folder)
            check_room(folder, needed, f"The checkpoint of step {step}")
            temporary.mkdir()
            yield temporary
            _finish(temporary, folder / name, best=best, known=known)
        except (OSError, SafetensorError) as error:
            remove(temporary)
            raise _not_written(folder, step, needed, error) from error
        finally:
            remove(temporary)
        _after(folder, name, keep=keep, best=best)


def _finish(
    temporary: Path, target: Path, *, best: bool, known: Mapping[str, FileFacts] | None
) -> None:
    """Complete a checkpoint and give it its name, in the place of one that has it."""
    write_manifest(temporary, best=best, known=known)
    # Libraries make files that only their owner may read. The manifest was made the normal way.
    mode = (temporary / MANIFEST).stat().st_mode
    for file in (path for path in temporary.rglob("*") if path.is_file()):
        with contextlib.suppress(OSError):  # some disks have no modes
            file.chmod(mode)
    old = hidden(target.parent, target.name, "old")
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
        raise UserError(f"{target} is not a folder, so it is not replaced. Move it away.")
    try:
        if target.exists():  # the same step again, after a resume
            target.replace(old)
        temporary.replace(target)
    except BaseException:  # Ctrl-C too: between its two names the old one has none
        if old.exists() and not target.exists():
            old.replace(target)
        raise
    flush(target.parent)
    remove(old)


def _not_written(folder: Path, step: int, needed: int, error: Exception) -> UserError:
    kept = "Earlier checkpoints are as they were."
    if is_full(error):
        wants = megabytes(needed) if needed else "more"
        return NoRoom(
            f"The disk is full: the checkpoint of step {step} needs {wants}, and {folder} has "
            f"{megabytes(free_bytes(folder))} free. {kept} Make room, or choose another folder, "
            "and go on."
        )
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(
        f"The checkpoint of step {step} cannot be written to {folder}: {reason}. {kept} Make room "
        "or choose another folder, and go on."
    )


def _after(folder: Path, name: str, *, keep: int, best: bool) -> None:
    """Set the links and delete what is no longer kept, once the new checkpoint is verified."""
    verify_manifest(folder / name)
    for link in (LAST, BEST) if best else (LAST,):
        try:
            point(folder, link, name)
        except OSError as error:
            reason = error.strerror or error
            warnings.warn(f"{folder / link} cannot be set to {name}: {reason}.", stacklevel=4)
    stay = {path.name for path in list_checkpoints(folder)[-keep:]} | {name}
    named = (followed(folder, LAST), followed(folder, BEST) or _best_by_manifest(folder))
    stay |= {path.name for path in named if path}
    for older in list_checkpoints(folder):
        if older.name not in stay:
            _delete(older)


def _delete(checkpoint: Path) -> None:
    gone = hidden(checkpoint.parent, checkpoint.name, "gone")
    with contextlib.suppress(OSError):
        checkpoint.replace(gone)  # first its name: half a checkpoint must not look like one
        if remove(gone):
            return
    warnings.warn(
        f"The old checkpoint {checkpoint} cannot be deleted. The run goes on; delete it yourself.",
        stacklevel=5,
    )
