"""A learner's copies: what was worked in is never touched, the rest follows the course."""

import json
import subprocess
from pathlib import Path

import pytest

from tools import lab
from tools.lab import bring


def written(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    cell = {"cell_type": "markdown", "id": "cell-000", "metadata": {}, "source": [text]}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = folder / name
    path.write_text(json.dumps(notebook))
    return path


def said(path: Path) -> str:
    return json.loads(path.read_text("utf-8"))["cells"][0]["source"][0]


@pytest.fixture
def course(tmp_path: Path) -> Path:
    written(tmp_path / "course", "a.ipynb", "first")
    return tmp_path / "course"


def test_every_notebook_is_copied_and_a_second_call_changes_nothing(course, tmp_path):
    own = tmp_path / "own"
    assert bring(course, own) == []
    before = (own / "a.ipynb").stat().st_mtime_ns
    assert bring(course, own) == []
    assert said(own / "a.ipynb") == "first" and (own / "a.ipynb").stat().st_mtime_ns == before


def test_an_untouched_copy_follows_the_course(course, tmp_path):
    own = tmp_path / "own"
    bring(course, own)
    written(course, "a.ipynb", "second")
    written(course, "b.ipynb", "new")
    assert bring(course, own) == []
    assert (said(own / "a.ipynb"), said(own / "b.ipynb")) == ("second", "new")


def test_a_copy_that_was_worked_in_stays(course, tmp_path):
    own = tmp_path / "own"
    bring(course, own)
    written(own, "a.ipynb", "mine")
    assert bring(course, own) == []  # nothing new to tell
    written(course, "a.ipynb", "second")
    assert bring(course, own) == ["a.ipynb"]
    assert said(own / "a.ipynb") == "mine"


def test_a_file_of_the_learner_s_own_of_that_name_stays(course, tmp_path):
    own = tmp_path / "own"
    written(own, "a.ipynb", "mine from before")
    assert bring(course, own) == ["a.ipynb"]
    assert said(own / "a.ipynb") == "mine from before"


def test_the_first_notebook_is_what_opens_and_what_the_printed_address_leads_to(
    course, tmp_path, monkeypatch
):
    commands = []

    def started(command, **others):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(lab, "ROOT", tmp_path)
    monkeypatch.setattr(lab.subprocess, "run", started)
    course.rename(tmp_path / "notebooks")
    assert lab.main(["--no-browser"]) == 0
    ((*_, opened, address, last),) = commands
    assert opened == str(tmp_path / "my_notebooks" / "00_start_here.ipynb")
    assert address == "--LabApp.default_url=/lab/tree/00_start_here.ipynb"
    assert last == "--no-browser"
