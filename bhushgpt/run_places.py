"""Where a run is: a new folder, one that was named, or the one to go on with.

Lesson: notebook 16.
"""

import datetime
import os
from dataclasses import dataclass, field
from pathlib import Path

from bhushgpt.checkpoint_folders import checkpoints, newest_good_checkpoint, sweep
from bhushgpt.distributed import World
from bhushgpt.errors import UserError
from bhushgpt.folders import runs_folder
from bhushgpt.one_voice import agreed_path
from bhushgpt.run_locks import lock_run
from bhushgpt.run_records import corpus_place, run_of
from bhushgpt.runs import RECORD, RunFolder

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A run's folder and what to do there.

    Lesson: notebook 16.
    """

    folder: Path
    """The folder of the run."""
    checkpoint: Path | None = None
    """Where to go on from; None for the beginning."""
    notices: list[str] = field(default_factory=list)
    """What people should know of what was found."""

    @property
    def resumes(self) -> bool:
        """Whether a run goes on there."""
        return self.checkpoint is not None


def find_place(
    resume: str | None, out: Path | None, preset_name: str, corpus_name: str, world: World
) -> Place:
    """Return where a run goes, the same for all processes of it.

    Args:
        resume: A folder, of a run or a checkpoint; "auto" for the run in `out`, or else the newest
            one of this preset and text; or None. What torchrun starts again is "auto".
        out: The folder that was asked for.
        preset_name: Of a new run.
        corpus_name: Of a new run.
        world: All processes; the main one looks.

    Raises:
        UserError: If there is no run to go on with where one was named, or no whole checkpoint.

    Lesson: notebook 16.
    """
    if resume is None and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
        resume = AUTO
    if resume not in (None, AUTO):
        return _named(Path(resume), out, world)
    if out is None and resume == AUTO:
        out = newest_run(runs_folder(), preset_name, corpus_name)
    if out is None:
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out = runs_folder() / f"{preset_name}-{now}"
    out = agreed_path(out, world)
    if not world.agree(resume == AUTO and world.is_main and (out / RECORD).exists()):
        return Place(folder=out)
    found, notices = good_checkpoint(out) if world.is_main else (None, [])
    if world.is_main and found is None:  # killed before its first checkpoint: nothing is lost
        (out / RECORD).unlink()
        notices.append(f"The run in {out} had no checkpoint yet: it starts from the beginning.")
    checkpoint = agreed_path(found or out, world)
    return Place(folder=out, checkpoint=None if checkpoint == out else checkpoint, notices=notices)


def _named(folder: Path, out: Path | None, world: World) -> Place:
    run = run_of(folder)
    if out is not None and out.resolve() != run.path.resolve():
        raise UserError(
            f"--resume names {folder} and --out {out}: a run goes on in its own folder. Leave "
            "--out out."
        )
    notices = []
    if world.is_main:
        with lock_run(run.path):
            notices = sweep(run.path)
    return Place(folder=run.path, checkpoint=folder, notices=notices)


def newest_run(folder: Path, preset_name: str, corpus_name: str) -> Path | None:
    """Return the run in a folder of runs that was started last with this preset and text.

    Lesson: notebook 16.
    """
    found = []
    for file in folder.glob(f"*/{RECORD}"):
        try:
            record = RunFolder.open(file.parent).record
        except UserError:
            continue
        if (record.get("preset"), record.get("corpus")) == (preset_name, corpus_place(corpus_name)):
            found.append((file.stat().st_mtime, file.parent))
    return max(found)[1] if found else None


def good_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint of a run, after clearing up what killed saves have left.

    Returns:
        Its folder, or None if the run never saved one; and what people should know.

    Raises:
        UserError: If another process is writing there, or there are checkpoints and none is whole.

    Lesson: notebook 16.
    """
    with lock_run(folder):
        notices = sweep(folder)
    if not checkpoints(folder):
        return None, notices
    path, more = newest_good_checkpoint(folder)
    return path, notices + more
