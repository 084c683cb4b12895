"""A save dies before each single thing that it does to the disk, one after the other.

Python announces every file that is opened, renamed, removed and so on (its audit events). A process
that leaves at the n-th announcement, for n = 1, 2, 3, ..., has died at every point there is.

    python -m tests.faults.campaigns.crash_points
"""

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bhushgpt.errors import UserError
from bhushgpt.presets import RunConfig
from bhushgpt.storage import run_folder
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import (
    LEFT,
    list_checkpoints,
    newest_good_checkpoint,
    remove,
    sweep,
)
from bhushgpt.training import TrainState
from tests.small_runs import TOKENIZER, fresh_state, small_config

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.symlink"}
DIED = 9


@dataclass
class Tally:
    """What a campaign has seen."""

    points: int = 0
    completed: int = 0
    """Saves that were whole but for their name, and got it at the next start."""
    problems: list[str] = field(default_factory=list)


def die_at(number: int) -> None:
    """Let this process end, without a word, just before its n-th change or look at the disk."""
    count = 0

    def hook(event: str, _: tuple[Any, ...]) -> None:
        nonlocal count
        count += event in EVENTS
        if count == number:
            os._exit(DIED)

    sys.addaudithook(hook)


def dies(folder: Path, number: int, state: TrainState, config: RunConfig) -> bool:
    """Save in another process that dies at a point; return whether it got that far."""
    child = os.fork()
    if child == 0:
        os.fsync = lambda _: None  # the machine stays up: what is written is there without it
        die_at(number)
        save_checkpoint(folder, state, config, TOKENIZER, keep=1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED


def campaign(scratch: Path, steps: tuple[int, int], *, every: int = 1) -> Tally:
    """Save one step, then die at every point of saving the other.

    Args:
        scratch: An empty folder.
        steps: A step that is saved, and one whose saving dies. They may be the same, as when a run
            that was resumed comes to a step again.
        every: Take every second or third point only.
    """
    tally = Tally()
    config = small_config(60)
    state = fresh_state(config)
    before = scratch / "before"
    state.step = steps[0]
    save_checkpoint(before, state, config, TOKENIZER)
    state.step = steps[1]
    while True:
        folder = scratch / "run"
        shutil.copytree(before, folder, symlinks=True)
        if not dies(folder, every * tally.points + 1, state, config):
            break
        tally.points += 1
        _judge(tally, folder, steps)
        shutil.rmtree(folder)
    if [path.name for path in list_checkpoints(folder)] != [f"step_{steps[1]:08d}"]:
        tally.problems.append("the save that did not die did not do its work")
    shutil.rmtree(folder)
    return tally


def _judge(tally: Tally, folder: Path, steps: tuple[int, int]) -> None:
    for sentence in sweep(folder):
        tally.completed += "it is complete now" in sentence
    left = [path.name for path in folder.iterdir() if LEFT.fullmatch(path.name)]
    if left:
        tally.problems.append(f"point {tally.points}: left behind: {left}")
    try:
        path, notices = newest_good_checkpoint(folder)
        if load_checkpoint(path).state.step not in steps or notices:
            tally.problems.append(f"point {tally.points}: {notices}")
    except UserError as error:
        tally.problems.append(f"point {tally.points}: {error}")


def room_first(folder: Path, *_: Any) -> None:
    """Be a mistake that people make: delete the old checkpoint to make room for the new one."""
    for checkpoint in list_checkpoints(folder):
        remove(checkpoint)


def main() -> int:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every n-th point only")
    every = parser.parse_args().every
    if not hasattr(os, "fork"):
        print("not run: this system cannot fork")
        return 0
    problems = []
    for name, steps in (("a new step", (10, 20)), ("the same step again", (10, 10))):
        with tempfile.TemporaryDirectory() as scratch:
            tally = campaign(Path(scratch), steps, every=every)
        problems += tally.problems
        print(
            f"saving {name}: died at {tally.points} points, {tally.completed} times just "
            f"before the end; something lost: {'yes' if tally.problems else 'no'}"
        )
    # The campaign itself is tried on a mistake, of which fewer points are enough.
    run_folder.check_room = room_first
    with tempfile.TemporaryDirectory() as scratch:
        lost = len(campaign(Path(scratch), (10, 20), every=every + 1).problems)
    print(f"deleting the old one first, a mistake: noticed at {lost} points")
    for problem in problems:
        print(problem)
    return 0 if lost and not problems else 1


if __name__ == "__main__":
    sys.exit(main())
