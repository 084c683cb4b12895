"""Many launches in a row, none of which may fail or abort at its exit.

    python -m tests.faults.campaigns.launches [--tries 30]

Without the wait before the processes part, about one of seven launches aborted (torch 2.13, gloo).
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launching import torchrun


def main() -> int:
    """Launch two processes again and again, under both strategies in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=30)
    tries = parser.parse_args().tries
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(tries):
            strategy = ("ddp", "fsdp")[number % 2]
            done = torchrun(2, "nothing", Path(folder), Path(folder) / "out.json", strategy)
            if done.returncode:
                failed.append(f"launch {number + 1}, {strategy}: {done.stderr.strip()[-500:]}")
    print(f"{tries} launches of two processes, {len(failed)} failed or aborted at the exit")
    print(*failed, sep="\n", end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
