"""Which checkpoints a run's folder has, and which of them to go on from.

Lesson: notebook 10.
"""

from pathlib import Path

from bhushgpt.checkpoint_links import BEST, LAST, STEP_NAME, followed, point
from bhushgpt.errors import UserError
from bhushgpt.manifests import MANIFEST, verify_manifest


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name.

    Lesson: notebook 10.

    >>> step_of(Path("run/step_00000200"))
    200
    """
    return int(checkpoint.name.removeprefix("step_"))


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run's folder, oldest first.

    Lesson: notebook 10.
    """
    return [path for path in _candidates(folder) if (path / MANIFEST).is_file()]


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest complete checkpoint of a run's folder.

    Raises:
        UserError: If there is none.

    Lesson: notebook 10.
    """
    found = checkpoints(folder)
    if not found:
        raise UserError(
            f"There is no checkpoint in {folder}: no folder step_... with a {MANIFEST} in it. "
            "Name the folder of a run, or train a new one: python -m bhushgpt train"
        )
    return found[-1]


def newest_good_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """Return the newest checkpoint whose files are all as they were saved.

    Returns:
        Its folder, and a sentence for each newer one that is incomplete or damaged.

    Raises:
        UserError: If none is good; the message says what is wrong with each.

    Lesson: notebook 10.
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

    Lesson: notebook 10.
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
                (folder / link).unlink()
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
