"""A disk of a few megabytes fills up at every point of a save.

    python -m tests.faults.campaigns.full_disk

Linux only: the disk is a small tmpfs, mounted where nobody else sees it (`unshare`).
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from bhushgpt.files import NoRoom, free_bytes
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import LEFT
from tests.small_runs import TOKENIZER, fresh_state, small_config

DISK = 4 * 2**20
UNSHARE = ("unshare", "--map-root-user", "--mount")
MESSAGE = re.compile(r"needs ([\d,.]+) MB, and .* ([\d,.]+) MB free")


@dataclass
class Tally:
    """What a campaign has seen."""

    tries: int = 0
    forecast: int = 0
    """Refused before anything was written."""
    on_the_way: int = 0
    """Failed while writing: somebody else had filled the disk meanwhile."""
    problems: list[str] = field(default_factory=list)


def can_run() -> bool:
    """Return whether a small disk can be had here."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def campaign(disk: Path, tries: int) -> Tally:
    """Leave a little more room each time, and see that nothing is lost by it."""
    tally = Tally()
    run = disk / "run"
    config = small_config(60, width=80)
    state = fresh_state(config)
    state.step = 10
    save_checkpoint(run, state, config, TOKENIZER)
    needed = sum(file.stat().st_size for file in run.glob("step_*/*"))
    state.step = 20
    for number in range(tries):
        _fill(disk, leave=number * needed // tries)
        for known in (True, False):
            tally.tries += 1
            # Where the size is not asked for first, the disk fills up in the middle of a file.
            blind = mock.patch("bhushgpt.storage.run_folder.check_room", lambda *_: None)
            try:
                if known:
                    save_checkpoint(run, state, config, TOKENIZER)
                else:
                    with blind:
                        save_checkpoint(run, state, config, TOKENIZER)
                tally.problems.append(f"saved into {free_bytes(disk)} bytes")
            except NoRoom as error:
                tally.forecast += known
                tally.on_the_way += not known
                _judge(tally, run, str(error), needed)
    (disk / "ballast").unlink()
    save_checkpoint(run, state, config, TOKENIZER)  # there is room again: the run goes on
    if load_checkpoint(run).state.step != 20:
        tally.problems.append("could not go on after room was made")
    return tally


def _judge(tally: Tally, run: Path, message: str, needed: int) -> None:
    match = MESSAGE.search(message)
    if match is None or float(match[1].replace(",", "")) * 1e6 < needed:
        tally.problems.append(f"the message does not say how much is needed: {message}")
    left = [path.name for path in run.iterdir() if LEFT.fullmatch(path.name)]
    if left:
        tally.problems.append(f"left behind: {left}")
    if load_checkpoint(run).state.step != 10:
        tally.problems.append("the old checkpoint is not what it was")


def _fill(disk: Path, *, leave: int) -> None:
    """Fill a disk with a useless file, but for some bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb", buffering=0) as file:
        file.write(bytes(max(0, free_bytes(disk) - leave)))


def main() -> int:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=60)
    parser.add_argument("--inside", action="store_true", help="for its own use")
    options = parser.parse_args()
    if not options.inside:
        if not can_run():
            print("not run: a small disk of one's own needs Linux with unshare and mount")
            return 0
        inside = [sys.executable, "-m", "tests.faults.campaigns.full_disk", "--inside"]
        again = [*UNSHARE, *inside, "--tries", str(options.tries)]
        return subprocess.run(again, check=False).returncode
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder]
        subprocess.run(mount, check=True)
        try:
            tally = campaign(Path(folder), options.tries)
        finally:
            subprocess.run(["umount", folder], check=True)
    print(
        f"{tally.tries} saves onto a full disk: {tally.forecast} refused before writing, "
        f"{tally.on_the_way} stopped while writing; the old checkpoint intact each time, "
        f"nothing left behind: {'no' if tally.problems else 'yes'}"
    )
    for problem in dict.fromkeys(tally.problems):
        print(problem)
    return 1 if tally.problems or not (tally.forecast and tally.on_the_way) else 0


if __name__ == "__main__":
    sys.exit(main())
