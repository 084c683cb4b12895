"""Everything that the project promises, checked: what `make test` runs.

    python tools/test.py                      lint, types, unit tests, doctests, all notebooks
    python tools/test.py check                lint and types
    python tools/test.py unit                 unit tests and doctests
    python tools/test.py notebooks 04_bigram  one notebook, compared with what it has stored
    python tools/test.py --fast               all but the notebooks

All parts run, also after one has failed, as steps of some minutes that two processor cores take one
after the other. Notebooks run at the scale `smoke` and write into a folder that is thrown away.
Tests with the mark `long` are left to `make faults`: each is the long form of one that runs here.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tools.stored_form import COLOUR, ROOT

PARTS = ("check", "unit", "notebooks")
LINTED = ("bhushgpt", "tools", "tests", "notebooks")
NBVAL = (
    "--nbval",
    "--nbval-current-env",
    "--nbval-cell-timeout=120",
    "--nbval-sanitize-with=tools/sanitize.cfg",
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the test run."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a step."""

    step: Step
    passed: bool
    seconds: float
    output: str

    def line(self) -> str:
        """Return the line of the summary: verdict, seconds, what the command said last."""
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.step.name:<14} {verdict} {self.seconds:7.1f} s  {self.last_line()}"

    def last_line(self) -> str:
        """Return the closing line of the command's output."""
        lines = [line.strip("= ") for line in self.output.splitlines() if line.strip("= ")]
        return lines[-1] if lines else ""


def python(*arguments: str) -> tuple[str, ...]:
    """Return a command for the Python that runs this."""
    return (sys.executable, "-m", *arguments)


def check_steps() -> list[Step]:
    """Return lint, format and types."""
    return [
        Step(
            name="ruff check", command=python("ruff", "check", "--output-format=concise", *LINTED)
        ),
        Step(name="ruff format", command=python("ruff", "format", "--check", *LINTED)),
        Step(name="pyright", command=python("pyright")),
    ]


def unit_steps() -> list[Step]:
    """Return unit tests and doctests, shared out among steps that take about as long."""
    folders = ("exercises", "faults", "interop", "situations")
    first, second = _halves(sorted((ROOT / "tests").glob("test_*.py")))
    shares = {
        "unit tests 1": [f"tests/{name}" for name in folders],
        "unit tests 2": first,
        "unit tests 3": [*second, "bhushgpt", "tools"],
    }
    inline = {"MPLBACKEND": "agg"}
    return [
        Step(name=name, command=python("pytest", "-m", "not long", *share), environment=inline)
        for name, share in shares.items()
    ]


def notebook_steps(names: Sequence[str]) -> list[Step]:
    """Return the run of the named notebooks, or of all, each compared with its stored outputs."""
    # Pictures that a cell leaves open would be shown to a learner, so they are here.
    inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    common = (*NBVAL, "-p", "no:cacheprovider")
    files = [f"notebooks/{Path(name).stem}.ipynb" for name in names]
    shares = [files] if files else _halves(sorted((ROOT / "notebooks").glob("*.ipynb")))
    return [
        Step(name=name, command=python("pytest", *common, *share), environment=inline)
        for name, share in zip(("notebooks 1", "notebooks 2"), shares, strict=False)
    ]


def _halves(paths: Sequence[Path]) -> list[list[str]]:
    """Return every other path, and the others: neighbours take about as long."""
    places = [str(path.relative_to(ROOT)) for path in paths]
    return [places[::2], places[1::2]]


def steps(parts: Sequence[str], names: Sequence[str]) -> list[Step]:
    """Return what to run, the long steps first, so that two cores end at about the same time."""
    found = unit_steps() if "unit" in parts else []
    found += notebook_steps(names) if "notebooks" in parts else []
    return found + (check_steps() if "check" in parts else [])


def environment_for_tests(scratch: str) -> dict[str, str]:
    """Return the environment of all steps.

    One thread a process and passive waiting: on busy cores the default is many times slower.
    """
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "BHUSHGPT_SCALE": "smoke",
        "BHUSHGPT_RUNS": str(Path(scratch, "runs")),
        "IPYTHONDIR": str(Path(scratch, "ipython")),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }


def run(step: Step, environment: dict[str, str]) -> Result:
    """Run a step to its end and return what became of it."""
    start = time.monotonic()
    done = subprocess.run(
        step.command,
        cwd=ROOT,
        env={**environment, **step.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return Result(
        step=step,
        passed=done.returncode == 0,
        seconds=time.monotonic() - start,
        output=COLOUR.sub("", done.stdout),  # nbval colours also what goes into a file
    )


def run_all(work: Sequence[Step], workers: int = 2) -> list[Result]:
    """Run all steps, so many at a time, and return their results in the steps' order.

    What failed is shown in full at once, the rest in a line.
    """

    def shown(step: Step) -> Result:
        result = run(step, environment)
        print(
            result.line() if result.passed else f"\n{result.output}\n{result.line()}\n", flush=True
        )
        return result

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        environment = environment_for_tests(scratch)
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(shown, work))


def chosen(words: Sequence[str], *, fast: bool) -> tuple[list[str], list[str]]:
    """Return the parts to run and the notebooks meant by other words.

    >>> chosen(["unit"], fast=False)
    (['unit'], [])
    >>> chosen(["04_bigram"], fast=False)
    (['notebooks'], ['04_bigram'])
    """
    names = [word for word in words if word not in PARTS]
    parts = [part for part in PARTS if part in words]
    if names and "notebooks" not in parts:
        parts.append("notebooks")
    if not parts:
        parts = [part for part in PARTS if not (fast and part == "notebooks")]
    return parts, names


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 if all steps passed."""
    parser = argparse.ArgumentParser(prog="tools/test.py", description="Check everything.")
    parser.add_argument("words", nargs="*", metavar="PART", help="check, unit, notebooks [NAME]")
    parser.add_argument("--fast", action="store_true", help="all but the notebooks")
    options = parser.parse_args(arguments)
    parts, names = chosen(options.words, fast=options.fast)
    start = time.monotonic()
    print(f"Running: {', '.join(parts)}. Output comes when a step has ended.", flush=True)
    try:
        results = run_all(steps(parts, names))
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    print("\nSummary")
    for result in results:
        print(result.line())
    failed = [result.step.name for result in results if not result.passed]
    verdict = f"FAILED: {', '.join(failed)}" if failed else "All passed"
    print(f"{verdict}, after {time.monotonic() - start:.0f} seconds.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
