"""`prepare` is killed at random moments, again and again; the tokens are those of an unbroken run.

    python -m tests.faults.campaigns.prepare_kills --kills 10

The corpus is the real pages where BHUSHGPT_DATA has them, else pages made up in the same layout.
Killed are the command and its workers at once, or the command alone, whose workers must then end.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bhushgpt.files import sha256
from tests.pages import REAL, make_pages, openwebtext

PARTS = ("train.tokens", "held_out.tokens", "manifest.json", "tokenizer.json")


def command(archive: Path, out: Path, workers: int) -> list[str]:
    """Return the command line that is killed."""
    words = [sys.executable, "-m", "bhushgpt", "prepare", str(archive), "--tokenizer", "bytes"]
    return [*words, "--out", str(out), "--workers", str(workers), "--held-out", "0.05"]


def contents(out: Path) -> dict[str, str]:
    """Return the fingerprints of a finished folder, in which nothing else may be."""
    assert sorted(path.name for path in out.iterdir()) == sorted(PARTS)
    return {name: sha256((out / name).read_bytes()) for name in PARTS}


def corpus(folder: Path) -> Path:
    """Return the archive that is prepared."""
    real = Path(os.environ.get("BHUSHGPT_DATA", "")) / REAL
    if os.environ.get("BHUSHGPT_DATA") and real.is_file():
        return real
    return openwebtext(folder / REAL, make_pages(2500), a_shard=100)


def killed(words: list[str], after: float, alone: bool) -> bool:
    """Start the command, kill it after some seconds, and return whether it was still at work."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        assert process.wait(after) == 0, "the command came to an end by itself, and not well"
        return False
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        if alone:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive, f"workers outlive the command: {alive}"
        return True


def campaign(folder: Path, kills: int, seed: int = 0) -> tuple[int, int, bool]:
    """Return kills, runs that were needed, and whether the result is that of an unbroken run."""
    chance = random.Random(seed)
    archive = corpus(folder)
    began = time.perf_counter()
    subprocess.run(command(archive, folder / "straight", 1), check=True, capture_output=True)
    long = time.perf_counter() - began
    runs = done = 0
    out = folder / "out"
    while done < kills:
        runs += 1
        words = command(archive, out, chance.choice([1, 2, 3]))
        if killed(words, chance.uniform(0.1, 1.0) * long, alone=chance.random() < 0.5):
            done += 1
        elif done < kills:  # it came to its end: from the start again
            assert contents(out) == contents(folder / "straight")
            out = folder / f"out{runs}"
    finished = subprocess.run(command(archive, out, 2), capture_output=True, text=True, check=False)
    if finished.returncode:
        print(finished.stderr)
        return done, runs, False
    return done, runs, contents(out) == contents(folder / "straight")


def main() -> int:
    """Run the campaign; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kills, runs, same = campaign(Path(folder), given.kills, given.seed)
    print(f"{kills} kills in {runs} runs; the same to the byte: {'yes' if same else 'NO'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
