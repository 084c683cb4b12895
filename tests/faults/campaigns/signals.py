"""A training process is asked to stop at random moments: it saves, and goes on to the same weights.

python -m tests.faults.campaigns.signals [--runs 20] [--processes 2] [--compile]
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bhushgpt.storage.run_folder import list_checkpoints
from tests.interrupted_runs import flags, history, launch, whole_state

STEPS = 200
TEXT = "the cat sat on the mat and the dog sat on the log\n" * 60


@dataclass(frozen=True)
class Stop:
    """What was seen of one run that was asked to stop."""

    signal: str
    seconds: float
    status: int
    saved: int | None
    lost: int
    same: bool

    @property
    def good(self) -> bool:
        """Whether nothing was lost, and the run went on to the same weights."""
        return self.lost == 0 and self.same and self.status in (0, 1, 130, 143, -2, -15)

    def __str__(self) -> str:
        saved = "no run yet" if self.saved is None else f"saved at step {self.saved}"
        end = "same weights" if self.same else "OTHER WEIGHTS"
        return (
            f"{self.signal} after {self.seconds:5.2f} s: status {self.status:>4}, {saved}, "
            f"{self.lost} steps lost, then {end}"
        )


def main() -> int:
    """Print what became of every run; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    more = ["--compile"] if arguments.compile else []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "text.txt").write_text(TEXT, encoding="utf-8")
        command = flags(place / "text.txt", place / "unbroken", *more, steps=STEPS)
        begin = time.monotonic()
        finish(command, place, arguments.processes)
        longest = time.monotonic() - begin
        reference = whole_state(place / "unbroken")
        moments = random.Random(0)
        stops = []
        for number in range(arguments.runs):
            out = place / f"run{number}"
            command = flags(place / "text.txt", out, *more, steps=STEPS)
            kind = signal.SIGTERM if number % 3 else signal.SIGINT
            moment = moments.uniform(0, longest)
            stops.append(stop(command, out, kind, moment, arguments.processes, reference))
            print(stops[-1], flush=True)
    good = sum(one.good for one in stops)
    stopped = sum(one.saved is not None for one in stops)
    print(f"{good} of {len(stops)} runs lost nothing; {stopped} were stopped while there was a run")
    return 0 if good == len(stops) else 1


def stop(
    command: list[str],
    out: Path,
    kind: signal.Signals,
    moment: float,
    processes: int,
    reference: tuple[bytes, ...],
) -> Stop:
    """Start a run, send it a signal, look at what is there, and let it go on to its end."""
    log = out.with_suffix(".log")
    process = launch(command, log, processes=processes)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(kind)
    status = process.wait(60)
    found = list_checkpoints(out)
    saved = int(found[-1].name.removeprefix("step_")) if found else None
    logged = [line["step"] for line in history(out)] if found else []
    lost = max(logged, default=0) - (saved or 0)
    finish([*command, "--resume", "auto"], out.parent, processes)
    return Stop(kind.name, moment, status, saved, lost, whole_state(out) == reference)


def finish(command: list[str], place: Path, processes: int) -> None:
    """Run a command to its end."""
    log = place / "finish.log"
    if launch(command, log, processes=processes).wait(300):
        raise AssertionError(log.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
