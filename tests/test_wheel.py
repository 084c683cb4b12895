"""The wheel works without the repository: all that the package reads is inside it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bhushgpt.environment import project_root
from tools.curriculum import ROOT

# Run far from the checkout: what of the course's own files the package and the notebooks read.
READS = """
import json, tomllib
from pathlib import Path
import bhushgpt
from bhushgpt.corpus import corpora
from bhushgpt.environment import checkout, project_root
from bhushgpt.roofline import load_records

root = project_root()
assert checkout() is None and root.is_relative_to(Path(bhushgpt.__file__).parent)
lessons = tomllib.loads((root / "curriculum.toml").read_text(encoding="utf-8"))["notebook"]
laws = json.loads((root / "benchmarks" / "scaling_law.json").read_text(encoding="utf-8"))
records = load_records(root / "benchmarks")
print(len(lessons), len(records) >= 2, bool(laws), "sherlock" in corpora())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.fixture(scope="module")
def unpacked(wheel: zipfile.ZipFile) -> Path:
    """A wheel is installed by unpacking it."""
    assert wheel.filename is not None
    folder = Path(wheel.filename).parent / "site"
    wheel.extractall(folder)
    return folder


def run(unpacked: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=unpacked.parent,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_what_it_reads(wheel):
    inside = set(wheel.namelist())
    package = ROOT / "bhushgpt"
    files = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    course = {f"bhushgpt/course/{name}" for name in ("curriculum.toml", "datasets/corpora.toml")}
    course |= {
        f"bhushgpt/course/benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.json")
    }
    assert files | course <= inside
    assert "bhushgpt/py.typed" in files
    assert not [name for name in inside if name.split("/")[0] in ("tests", "tools", "notebooks")]


def test_the_course_can_be_read_from_the_wheel(unpacked):
    n_lessons = len(list((project_root() / "notebooks").glob("*.ipynb")))
    assert run(unpacked, "-c", READS).split() == [str(n_lessons), "True", "True", "True"]


def test_the_program_starts_from_the_wheel(unpacked):
    assert "train" in run(unpacked, "-m", "bhushgpt", "--help")
