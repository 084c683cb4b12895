"""What the web site is checked for without a browser; `make site` applies it to all pages."""

import json
import re
from pathlib import Path

import pytest

from tools import browser
from tools.curriculum import ROOT, read_curriculum
from tools.website import FRONT_BYTES, PAGE_BYTES, constraints, faults, read_by, reference

GOOD = '<h1 id="top">T</h1><a href="sub/b.html#there">b</a><img src="p.png"><a href="#top">up</a>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "p.png").touch()
    (tmp_path / "a.html").write_text(GOOD)
    (tmp_path / "sub/b.html").write_text('<p id="there"></p><a href="../a.html">a</a>')
    return tmp_path


def test_a_sound_site_has_no_faults(site):
    assert faults(site) == []


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ('<a href="gone.html">', "a.html links to gone.html, which does not exist."),
        ('<a href="sub/b.html#gone">', "a.html links to sub/b.html#gone, which does not exist."),
        ('<a href="#gone">', "a.html links to #gone, which does not exist."),
        ('<img src="gone.png">', "a.html links to gone.png, which does not exist."),
        ("x" * PAGE_BYTES, f"a.html has {PAGE_BYTES + len(GOOD)} bytes, more than {PAGE_BYTES}."),
    ],
)
def test_a_planted_fault_is_noticed(site, planted, complaint):
    (site / "a.html").write_text(GOOD + planted)
    assert faults(site) == [complaint]


def test_a_front_page_that_is_too_large_with_its_model_is_noticed(site):
    (site / "index.html").write_text("x" * 1000)
    (site / "model.html").write_text("x" * (FRONT_BYTES - 1000))
    assert faults(site) == []
    (site / "model.html").write_text("x" * (FRONT_BYTES - 999))
    limit = FRONT_BYTES - 1000
    assert faults(site) == [f"model.html has {limit + 1} bytes, more than {limit}."]


def test_other_sites_are_not_visited(site):
    (site / "a.html").write_text('<a href="https://x.org/gone"></a><a href="mailto:a@b.c"></a>')
    assert faults(site) == []


def test_the_notebooks_stand_in_the_order_of_the_course():
    front = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^notebooks/(\w+)$", front, re.MULTILINE)
    assert listed == [lesson.name for lesson in read_curriculum().lessons]


def test_the_reference_has_every_core_module_and_every_room():
    course = read_curriculum()
    pages = set(reference(course))
    assert {f"{room.name}.rst" for room in course.rooms} <= pages
    assert {"gpt.rst", "attention.rst", "index.md"} <= pages
    assert not [name for name in pages if name.startswith("exercises")]


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        ("sherlock", "*The Adventures of Sherlock Holmes*"),
        ("tinystories", "*TinyStories (a sample)*"),
        ("/home/ada/mine.txt", "one text"),
    ],
)
def test_the_front_page_names_what_its_model_read(tmp_path, corpus, words):
    (tmp_path / "run.json").write_text(json.dumps({"corpus": corpus}), encoding="utf-8")
    assert read_by(tmp_path) == words


def test_what_pip_is_to_keep_are_names_and_versions_alone():
    """pip refuses constraints with extras and folders, and nothing could be installed."""
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"\[.+\]==", pinned) and "\n-e ." in pinned
    lines = constraints().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+( *;.*)?", line)] == []
    assert len(lines) == pinned.count("==") - sum(line.count("==") - 1 for line in lines)


def test_the_notebooks_that_a_browser_runs_exist(capsys: pytest.CaptureFixture[str]) -> None:
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert len(browser.NOTEBOOKS) == 6 and {*browser.NOTEBOOKS, *browser.MOVES} <= there
    assert browser.main(["03_no_such"]) == 1
    assert capsys.readouterr().out == "There is no notebook 03_no_such.\n"
