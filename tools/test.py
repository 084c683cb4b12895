"""Everything that the project promises, checked: what `make test` runs.

    python tools/test.py                      lint, types, unit tests, doctests, all notebooks
    python tools/test.py check                lint and types
    python tools/test.py unit                 unit tests and doctests
    python tools/test.py notebooks 04_bigram  one notebook, compared with what it has stored
    python tools/test.py --fast               all but the notebooks

All parts run, also after one has failed. Lint, types and unit tests take one processor core, the
notebooks another. Notebooks run at the scale `smoke` and write into a folder that is thrown away.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
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
    """Return unit tests and doctests: the folders that pyproject.toml names."""
    return [Step(name="unit tests", command=python("pytest"), environment={"MPLBACKEND": "agg"})]


def notebook_steps(names: Sequence[str]) -> list[Step]:
    """Return the run of the named notebooks, or of all, each compared with its stored outputs."""
    files = [f"notebooks/{Path(name).stem}.ipynb" for name in names] or ["notebooks"]
    # Pictures that a cell leaves open would be shown to a learner, so they are here.
    inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    command = python("pytest", *NBVAL, "-p", "no:cacheprovider", *files)
    return [Step(name="notebooks", command=command, environment=inline)]


def lanes(parts: Sequence[str], names: Sequence[str]) -> list[list[Step]]:
    """Return what to run: lists of steps, the lists beside each other."""
    first = (check_steps() if "check" in parts else []) + (unit_steps() if "unit" in parts else [])
    second = notebook_steps(names) if "notebooks" in parts else []
    return [lane for lane in (first, second) if lane]


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


def run_lane(lane: Sequence[Step], environment: dict[str, str], results: list[Result]) -> None:
    """Run steps one after the other; what failed is shown in full at once, the rest in a line."""
    for step in lane:
        result = run(step, environment)
        results.append(result)
        shown = result.line() if result.passed else f"\n{result.output}\n{result.line()}\n"
        print(shown, flush=True)


def run_all(work: Sequence[Sequence[Step]]) -> list[Result]:
    """Run all lanes beside each other and return all results in the lanes' order."""
    found: list[list[Result]] = [[] for _ in work]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        environment = environment_for_tests(scratch)
        threads = [
            threading.Thread(target=run_lane, args=(lane, environment, results))
            for lane, results in zip(work, found, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [result for results in found for result in results]


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
        results = run_all(lanes(parts, names))
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
