"""A run's folder, in which every checkpoint is whole, whatever happens while one is written.

    run/
      step_00000100/    a checkpoint: files, and a manifest that vouches for them
      step_00000200/
      last, best        names for two of them
      .lock             while a run is writing

Lesson: notebook 10.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from bhushgpt.checkpoint_links import BEST, LAST, followed, point
from bhushgpt.checkpoint_lists import (
    checkpoints,
    latest_checkpoint,
    newest_good_checkpoint,
    set_aside_after,
)
from bhushgpt.disk_space import NoRoom, check_room, free_bytes, is_full, megabytes
from bhushgpt.errors import UserError
from bhushgpt.files import flush
from bhushgpt.leftovers import hidden, remove, sweep
from bhushgpt.manifests import MANIFEST, verify_manifest, write_manifest
from bhushgpt.run_locks import lock_run

__all__ = [
    "checkpoints",
    "latest_checkpoint",
    "new_checkpoint",
    "newest_good_checkpoint",
    "set_aside_after",
    "sweep",
]


@contextmanager
def new_checkpoint(
    folder: Path, step: int, *, keep: int = 2, best: bool = False, needed: int = 0
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

    Yields:
        A temporary folder.

    Raises:
        UserError: If it cannot be written; a `NoRoom` if the disk is full.

    Lesson: notebook 10.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     with new_checkpoint(Path(name), step=7) as temporary:
    ...         _ = (temporary / "notes.txt").write_text("all is well")
    ...     sorted(path.name for path in Path(name).glob("*/*") if not path.parent.is_symlink())
    ['manifest.json', 'notes.txt']
    """
    if keep < 1:
        raise UserError(f"keep is {keep}: at least 1 checkpoint must be kept.")
    folder = folder.expanduser().absolute()  # whatever folder the caller changes to meanwhile
    name = f"step_{step:08d}"
    temporary = hidden(folder, name, "new")
    with lock_run(folder):
        try:
            sweep(folder)
            check_room(folder, needed, f"The checkpoint of step {step}")
            temporary.mkdir()
            yield temporary
            _finish(temporary, folder / name)
        except (OSError, SafetensorError) as error:
            remove(temporary)
            raise _not_written(folder, step, needed, error) from error
        finally:
            remove(temporary)
        _after(folder, name, keep=keep, best=best)


def _finish(temporary: Path, target: Path) -> None:
    """Complete a checkpoint and give it its name, in the place of one that has it."""
    write_manifest(temporary)
    # Libraries make files that only their owner may read. The manifest was made the normal way.
    mode = (temporary / MANIFEST).stat().st_mode
    for file in (path for path in temporary.rglob("*") if path.is_file()):
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
    stay = {path.name for path in checkpoints(folder)[-keep:]} | {name}
    stay |= {path.name for link in (LAST, BEST) if (path := followed(folder, link))}
    for older in checkpoints(folder):
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
