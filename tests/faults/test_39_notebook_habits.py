"""Fault 39: Run All twice, out of order, two notebooks in one folder, no network, read-only folder.

A real notebook, 04_bigram, which trains and samples, is run at the smallest scale.
"""

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest

from bhushgpt.environment import cache_folder, runs_folder
from bhushgpt.errors import UserError
from tests.faults.run_cells import run_cells
from tools.curriculum import ROOT

QUICK = "04_bigram"
MOST_LINES = 60  # that a cell may print: more is no screen to read


def notebook(name: str = QUICK):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def run(cells, folder: Path, runs: Path) -> tuple[list[str], str]:
    """Run code cells in one kernel, in the given order; return what each printed, and the error."""
    settings = {"OMP_NUM_THREADS": "1", "BHUSHGPT_SCALE": "smoke", "MPLBACKEND": "agg"}
    environment = {**os.environ, **settings, "BHUSHGPT_RUNS": str(runs)}
    return run_cells([cell.source for cell in cells], folder, environment)


def code_cells(name: str = QUICK):
    """Return the cells that a learner runs, without the ones that are meant to fail."""
    cells = [cell for cell in notebook(name).cells if cell.cell_type == "code"]
    return [c for c in cells if "raises-exception" not in c.metadata.get("tags", [])]


def varying() -> set[int]:
    """Return which cells print what depends on the moment."""
    tags = [cell.metadata.get("tags", []) for cell in code_cells()]
    return {number for number, own in enumerate(tags) if "nbval-ignore-output" in own}


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def once_twice(tmp_path_factory):
    """What a notebook prints that is run all through twice in one kernel, and its folder.

    A second kernel runs the same notebook in the same folder meanwhile.
    """
    folder = tmp_path_factory.mktemp("twice")
    runs = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor(2) as pool:
        cells = ([*code_cells(), *code_cells()], code_cells())
        (said, error), beside = pool.map(lambda these: run(these, folder, runs), cells)
    assert error == ""
    half = len(said) // 2
    return said[:half], said[half:], beside, folder, runs


def differing(one: list[str], other: list[str]) -> list[str]:
    """Return what cells that print the same each time printed differently."""
    pairs = enumerate(zip(one, other, strict=True))
    return [left for n, (left, right) in pairs if left != right and n not in varying()]


def test_run_all_twice_in_one_kernel_prints_the_same_and_leaves_no_stray_file(once_twice) -> None:
    once, twice, _, folder, _ = once_twice
    assert len(once) - len(varying()) > 10
    assert differing(once, twice) == []
    assert files_below(folder) == set()


def test_no_cell_prints_more_than_a_screen(once_twice) -> None:
    assert 0 < max(text.count("\n") for text in once_twice[0]) <= MOST_LINES


def test_two_notebooks_at_once_in_one_folder_do_not_meet(once_twice) -> None:
    once, _, (beside, error), folder, _ = once_twice
    assert error == "" and differing(once, beside) == []
    assert files_below(folder) == set()


@pytest.mark.long
def test_two_restarted_notebooks_at_once_in_one_folder_do_not_meet(tmp_path, once_twice) -> None:
    # Fresh kernels, where an earlier one has left its results: a restart is nothing else.
    (tmp_path / "here").mkdir()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run, code_cells(), tmp_path / "here", once_twice[4]) for _ in range(2)]
    for said, error in (job.result() for job in jobs):
        assert error == "" and differing(said, once_twice[0]) == []
    assert files_below(tmp_path / "here") == set()


def test_a_cell_run_too_early_says_what_is_missing_and_leaves_nothing_behind(tmp_path) -> None:
    cells = code_cells()
    _, error = run(cells[len(cells) // 2 :], tmp_path, tmp_path / "runs")
    assert re.match(r"NameError: name '\w+' is not defined", error)
    assert files_below(tmp_path) == set()


READ_ONLY = """
import sys
from bhushgpt.errors import UserError
from bhushgpt.environment import cache_folder, runs_folder
from bhushgpt.corpus import load_text
for folder in (runs_folder, cache_folder):
    try:
        folder("x") if folder is runs_folder else folder()
        print("made")
    except UserError as error:
        print(error)
"""


def test_a_read_only_disk_says_which_variable_to_set(monkeypatch) -> None:
    def refuse(self, *arguments, **named):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.delenv("BHUSHGPT_RUNS", raising=False)
    monkeypatch.delenv("BHUSHGPT_CACHE", raising=False)
    monkeypatch.setattr(Path, "mkdir", refuse)
    for folder, variable in ((runs_folder, "BHUSHGPT_RUNS"), (cache_folder, "BHUSHGPT_CACHE")):
        with pytest.raises(UserError, match=rf"cannot be made: Read-only file system.*{variable}"):
            folder()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no folder that is read-only")
def test_a_read_only_course_folder_says_which_variable_to_set(tmp_path) -> None:
    course = tmp_path / "course"
    shutil.copytree(ROOT / "bhushgpt", course / "bhushgpt", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "curriculum.toml", course)
    drop: dict[str, Any] = {}
    if os.geteuid() == 0:  # root writes everywhere: become nobody for this
        for path in (tmp_path, *tmp_path.parents):
            if path == Path("/"):
                break
            if not path.stat().st_mode & stat.S_IXOTH:
                pytest.skip("root may write everywhere, and nobody may not come as far as this")
        drop = {"user": 65534, "group": 65534}
    course.chmod(0o555)
    code = READ_ONLY
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=course,
        env={"PATH": "", "PYTHONPATH": str(course), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        **drop,
    )
    if done.returncode and "Permission denied" in done.stderr and drop:
        pytest.skip("nobody may not read this Python's libraries")
    course.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "BHUSHGPT_RUNS to a folder that you may write to" in done.stdout
    assert "BHUSHGPT_CACHE to a folder that you may write to" in done.stdout


OFFLINE = """
import socket
def refuse(*arguments, **named):
    raise OSError(101, "Network is unreachable")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from bhushgpt.corpus import load_text
print(len(load_text("sherlock").text))
"""


def test_without_a_network_the_book_comes_from_the_cache(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "562203"), done.stderr


def test_every_notebook_can_be_opened_and_says_its_kernel() -> None:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["metadata"]["kernelspec"]["name"] == "python3", path.name
