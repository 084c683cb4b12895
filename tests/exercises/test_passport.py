"""The passport keeps what checks saw, claims nothing else, and never loses a file."""

import json
import os
import re
import stat

import nbformat
import pytest
from kill_table import exercises

from bhushgpt.commands.line import main
from bhushgpt.environment import project_root
from bhushgpt.exercises import passport
from bhushgpt.exercises.exercise import ValueExercise
from bhushgpt.exercises.nb00_start_here import chances_after, window
from bhushgpt.exercises.nb04_bigram import no_shift
from bhushgpt.exercises.nb13_byte_pair_encoding import bytes_per_token
from bhushgpt.exercises.passport import COURSE, PLACES, Passport, place_of, progress
from tools.curriculum import read_curriculum

NOON = "2026-05-01T12:00:00+02:00"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Give each test a folder of its own, and let every notice be new."""
    monkeypatch.setenv("BHUSHGPT_RUNS", str(tmp_path))
    monkeypatch.setattr(passport, "_said", set())
    return tmp_path


def test_nothing_is_claimed_before_a_check(folder):
    empty = progress()
    assert empty.entries == {} and list(folder.iterdir()) == []
    assert str(empty).endswith("0 of 86\nNext: chances_after in 00_start_here.")
    assert str(empty).count("0 of ") == len(COURSE) + 1


def test_what_check_says_is_kept_and_judge_keeps_nothing(capsys):
    chances_after.judge(chances_after.reference)
    chances_after.check(...)
    assert progress().entries == {}
    no_shift.check("a")
    window.check(window.reference)
    assert capsys.readouterr().out.count("\n") == 3
    seen = progress().entries
    assert {key: entry.last for key, entry in seen.items()} == {
        "04/no_shift": "not yet",
        "00/window": "right",
    }
    assert seen["04/no_shift"].solved is None
    assert seen["00/window"].solved == seen["00/window"].checked
    table = str(progress())
    assert "00_start_here                 1 of 2\n  window                      solved 20" in table
    assert "  no_shift                    not yet (20" in table
    assert "all                           1 of 86" in table


def test_a_wrong_answer_after_a_right_one_stands_beside_it():
    no_shift.check("b")
    no_shift.check("a")
    entry = progress().entries["04/no_shift"]
    assert entry.last == "not yet" and entry.solved is not None
    assert "solved 20" in str(entry) and ", but not yet on 20" in str(entry)
    assert progress().solved(place_of(no_shift))  # type: ignore[arg-type]
    no_shift.check("b")
    assert progress().entries["04/no_shift"].solved == entry.solved


def test_the_first_day_of_a_right_answer_stays():
    mine, place = Passport(), PLACES[5]
    mine.stamp(place, "not yet", "2026-04-01T12:00:00+02:00")
    mine.stamp(place, "right", NOON)
    mine.stamp(place, "right", "2026-06-01T12:00:00+02:00")
    assert mine.entries[str(place)].solved == NOON


def test_next_is_what_was_begun_then_what_follows_then_what_was_left_out():
    mine = Passport()
    assert mine.next() == PLACES[0]
    mine.stamp(PLACES[8], "not yet", "2026-05-01T12:00:00")
    assert mine.next() == PLACES[8]
    mine.stamp(PLACES[8], "right", "2026-05-01T12:00:01")
    assert mine.next() == PLACES[9]
    mine.stamp(PLACES[-1], "right", "2026-05-01T12:00:02")
    assert mine.next() == PLACES[0]
    for place in PLACES:
        mine.stamp(place, "right", NOON)
    assert mine.next() is None and "All are solved." in str(mine)


def test_an_exercise_of_somebodys_own_is_not_entered():
    mine = ValueExercise(
        name="no_shift", question="q", hints=("h",), reference="b", checks=no_shift.checks
    )
    mine.check("b")
    assert progress().entries == {}


def test_two_exercises_of_one_name_are_told_apart():
    names = [place.name for place in PLACES]
    assert names.count("window") == 2 and len(set(map(str, PLACES))) == len(PLACES)
    assert str(place_of(window)) == "00/window"
    assert str(place_of(bytes_per_token)) == "13/bytes_per_token"


def test_what_a_later_version_has_solved_is_kept(folder):
    other = {"last": "right", "checked": NOON, "solved": NOON}
    text = json.dumps({"format": 1, "exercises": {"31/unheard_of": other}})
    (folder / "exercises.json").write_text(text)
    assert "0 of 86" in str(progress())
    no_shift.check("b")
    assert set(progress().entries) == {"31/unheard_of", "04/no_shift"}


BROKEN = {
    "half": '{"format": 1, "exercises": {"04/no',
    "empty": "",
    "other": "[1, 2]",
    "later": '{"format": 2, "exercises": {}}',
    "field": '{"format": 1, "exercises": {"04/x": {"last": "right", "checked": "x", "y": 1}}}',
    "value": '{"format": 1, "exercises": {"04/x": {"last": "perfect", "checked": "x"}}}',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_used_is_put_aside_whole_and_told_of(folder, broken, capsys):
    (folder / "exercises.json").write_text(broken)
    (folder / "exercises.damaged-1.json").write_text("an older one")
    no_shift.check("b")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Right: ")
    assert "exercises.json" in second and "kept as" in second
    assert (folder / "exercises.damaged-2.json").read_text() == broken
    assert (folder / "exercises.damaged-1.json").read_text() == "an older one"
    assert set(progress().entries) == {"04/no_shift"} and progress().notice == ""


def test_a_table_of_a_broken_file_says_so_and_is_empty(folder):
    (folder / "exercises.json").write_text("{")
    table = str(progress())
    assert "is damaged" in table.splitlines()[0] and "0 of 86" in table
    assert (folder / "exercises.damaged-1.json").read_text() == "{"


def test_where_nothing_can_be_written_checks_work_and_one_notice_comes(folder, monkeypatch, capsys):
    (folder / "a file").touch()
    monkeypatch.setenv("BHUSHGPT_RUNS", str(folder / "a file"))
    for _ in range(3):
        no_shift.check("b")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[1].startswith("Checks work as ever, but what you solve is not")
    assert "0 of 86" in str(progress())


def test_a_file_that_may_not_be_read_is_left_where_it_is(folder, capsys):
    file = folder / "exercises.json"
    file.write_text("mine")
    file.chmod(0)
    if os.access(file, os.R_OK):  # whoever may read everything
        pytest.skip("This user may read every file.")
    no_shift.check("b")
    assert "not kept" in capsys.readouterr().out
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert file.read_text() == "mine" and len(list(folder.iterdir())) == 1


def test_the_command_prints_the_table_without_torch(capsys):
    no_shift.check("b")
    capsys.readouterr()
    assert main(["progress"]) == 0
    assert capsys.readouterr().out == f"{progress()}\n"


def test_the_table_fits_a_small_window():
    mine = Passport()
    for place in PLACES:
        mine.stamp(place, "right", NOON)
        mine.stamp(place, "not yet", NOON)
    assert max(map(len, str(mine).splitlines())) <= 80


def test_the_list_is_the_courses_own_in_the_order_of_its_notebooks():
    assert list(COURSE) == [lesson.name for lesson in read_curriculum().lessons]
    for notebook, names in COURSE.items():
        cells = nbformat.read(
            project_root() / "notebooks" / f"{notebook}.ipynb", as_version=4
        ).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        checked = dict.fromkeys(re.findall(r"^(\w+)\.check\(", code, re.MULTILINE))
        # A notebook may give an exercise another name, where its own is a function's.
        own = {alias: name for name, alias in re.findall(r"(\w+) as (\w+)", code)}
        assert names.split() == [own.get(name, name) for name in checked], notebook


def test_every_exercise_that_there_is_has_its_place():
    found = list(exercises())
    assert [place for place, _ in found] == list(PLACES)
    assert all(place_of(exercise) == place for place, exercise in found)
