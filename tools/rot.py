"""What breaks with the newest PyTorch, NumPy, Jupyter and Python, tried before a learner does.

    python -m tools.rot                     the newest of each, one at a time
    python -m tools.rot numpy jupyterlab    some of them

Each package is installed with what it needs into a folder of its own that is laid over the
environment of the course, and a quick part of the tests runs with it: so a failure has one cause,
and nothing here is changed. PyTorch is the one that pip takes from your index, which may bring
some gigabytes of CUDA libraries. A newer Python is looked for on this machine, since no package
index has one, and gets an environment of its own.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "numpy", "jupyterlab", "ipykernel", "nbclient", "matplotlib")
NEWER_PYTHONS = [f"python3.{minor}" for minor in range(30, sys.version_info.minor, -1)]
MODULES = ("batches", "attention", "gpt", "training", "checkpoints", "generation", "figures")
UNIT = tuple(f"tests/test_{name}.py" for name in MODULES)
NOTEBOOK = ("--nbval", "--nbval-current-env", "--nbval-cell-timeout=300")
NOTEBOOK += ("--nbval-sanitize-with=tools/sanitize.cfg", "notebooks/04_bigram.ipynb")
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """What a newest version did to the course."""

    name: str
    was: str
    now: str
    broke: tuple[str, ...] = ()

    def __str__(self) -> str:
        row = f"{self.name:<12}{self.was:<14}{self.now:<14}"
        return row + (self.broke[0] if self.broke else "nothing broke")


def failures(output: str, status: int) -> tuple[str, ...]:
    """Return what pytest says has failed; a run that ended badly has at least one line.

    >>> failures("FAILED tests/test_gpt.py::test_shape - ValueError: x", 1)
    ('tests/test_gpt.py::test_shape',)
    >>> failures("2 passed", 0), failures("Segmentation fault", -11)
    ((), ('ended with status -11: Segmentation fault',))
    """
    if status == 0:
        return ()
    lines = [line for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    return tuple(dict.fromkeys(FAILED.findall(output))) or (f"ended with status {status}: {last}",)


def run(
    command: Sequence[str | Path], environment: dict[str, str] | None = None
) -> tuple[str, int]:
    """Return what a command said, and its exit status."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout, done.returncode


def broken_by(
    python: str | Path, layer: Path | None, parts: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """Run parts of the tests with a folder laid over the environment; return what failed."""
    path = [str(layer)] if layer else []
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*path, str(ROOT)]),
        "BHUSHGPT_SCALE": "smoke",
    }
    found: tuple[str, ...] = ()
    for part in parts:
        # pytest -q ends with a line for each failure.
        found += failures(*run([python, "-m", "pytest", "-q", "-rfE", *part], environment))
    return found


def try_package(name: str, folder: Path) -> Finding:
    """Lay the newest version of a package over the environment, and test."""
    layer = folder / name
    was = installed_version(name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    said, status = run([*pip, "--upgrade", "--target", layer, name])
    if status:
        last = said.strip().splitlines()[-1:] or ["pip said nothing"]
        return Finding(name, was, "none", (f"cannot be installed: {last[0]}",))
    environment = os.environ | {"PYTHONPATH": str(layer)}
    code = f"from importlib.metadata import version; print(version({name!r}))"
    now = run([sys.executable, "-c", code], environment)[0].strip()
    return Finding(name, was, now, broken_by(sys.executable, layer, (UNIT, NOTEBOOK)))


def newest_python() -> str | None:
    """Return the newest Python that this machine has and that starts.

    A version manager leaves commands for Pythons that are not switched on: they only explain so.
    """
    there = (name for name in NEWER_PYTHONS if shutil.which(name))
    return next((name for name in there if run([name, "-c", ""])[1] == 0), None)


def try_python(folder: Path) -> Finding:
    """Set the course up with the newest Python of this machine, and test."""
    was = f"{sys.version_info.major}.{sys.version_info.minor}"
    newest = newest_python()
    if newest is None:
        return Finding("python", was, "not tried", ("there is no newer one on this machine",))
    environment = folder / "python"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for command in (
        [newest, "-m", "venv", environment],
        [python, "-m", "pip", "install", "--quiet", "-r", "requirements.txt"],
    ):
        said, status = run(command)
        if status:
            return Finding("python", was, newest, tuple(said.strip().splitlines()[-1:]))
    return Finding("python", was, newest, broken_by(python, None, (UNIT, NOTEBOOK)))


def main(arguments: list[str] | None = None) -> int:
    """Try the newest versions, print a table, and return 1 if one of them broke something."""
    parser = argparse.ArgumentParser(prog="tools/rot.py", description="Try the newest versions.")
    known = [*PACKAGES, "python"]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    names = parser.parse_args(arguments).names or known
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no {', '.join(unknown)} to try; there are: {', '.join(known)}")
    findings = []
    print(f"{'package':<12}{'was':<14}{'newest':<14}what broke")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="rot-") as folder:
            if name == "python":
                finding = try_python(Path(folder))
            else:
                finding = try_package(name, Path(folder))
        findings.append(finding)
        print(finding, flush=True)
        for line in finding.broke[1:]:
            print(" " * 40 + line)
    return int(any(finding.broke and finding.now != "not tried" for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
