"""Attack the package for minutes: every campaign of tests/faults/campaigns, one after the other.

    python -m tools.faults                 all of them, at most 20 minutes
    python -m tools.faults kills bombs     some

A campaign is a module with a command line: it prints what it saw and ends with status 0, or 1 if
something was lost, run or filled that must not be. Short forms of them are among the unit tests.
One of them, `long_tests`, runs the tests that `make test` leaves out.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAMPAIGNS = ROOT / "tests" / "faults" / "campaigns"
MINUTES = 20


@dataclass(frozen=True)
class Outcome:
    """What became of a campaign."""

    name: str
    verdict: str
    seconds: float
    last_line: str

    def __str__(self) -> str:
        return f"{self.name:<16}{self.verdict:<9}{self.seconds:7.1f} s  {self.last_line}"


def campaigns(folder: Path = CAMPAIGNS) -> list[str]:
    """Return the names of all campaigns: the modules that can be started."""
    files = sorted(folder.glob("*.py"))
    return [file.stem for file in files if "__main__" in file.read_text(encoding="utf-8")]


def attack(name: str, seconds_left: float, folder: Path = CAMPAIGNS) -> Outcome:
    """Run one campaign to its end, or until the time is up; its output is shown as it comes."""
    module = ".".join([*folder.relative_to(ROOT).parts, name]) if folder == CAMPAIGNS else ""
    command = ["-m", module] if module else [str(folder / f"{name}.py")]
    begin = time.monotonic()
    lines: list[str] = []
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=max(1.0, seconds_left))
        verdict = "passed" if process.returncode == 0 else "FAILED"
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        verdict = "too slow"
    print(output, end="", flush=True)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return Outcome(name, verdict, time.monotonic() - begin, lines[-1] if lines else "")


def main(arguments: list[str] | None = None) -> int:
    """Run the campaigns, and return the exit status: 0 if all passed."""
    parser = argparse.ArgumentParser(prog="tools/faults.py", description="Attack the package.")
    parser.add_argument("names", nargs="*", help="campaigns; all if left out")
    names = parser.parse_args(arguments).names or campaigns()
    unknown = sorted(set(names) - set(campaigns()))
    if unknown:
        print(f"There is no campaign {', '.join(unknown)}. There are: {', '.join(campaigns())}.")
        return 2
    end = time.monotonic() + 60 * MINUTES
    outcomes = []
    for name in names:
        print(f"\n== {name}", flush=True)
        outcomes.append(attack(name, end - time.monotonic()))
    print("\nSummary")
    for outcome in outcomes:
        print(outcome)
    failed = [outcome.name for outcome in outcomes if outcome.verdict != "passed"]
    print(f"FAILED: {', '.join(failed)}." if failed else "Nothing was lost, and nobody got in.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
