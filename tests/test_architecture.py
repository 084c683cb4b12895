"""The picture of the architecture shows the code as it is."""

from pathlib import Path

from tools import architecture
from tools.curriculum import ROOT, Curriculum, Lesson, Room, read_curriculum

STALE = "The imports have changed: run  python -m tools.architecture"


def test_the_picture_is_up_to_date():
    now = architecture.picture(read_curriculum(), ROOT / "bhushgpt")
    assert architecture.FILE.read_text(encoding="utf-8") == now, STALE


def test_a_new_import_changes_the_picture(tmp_path: Path):
    course = Curriculum(
        lessons=(Lesson(name="00_a", question="?", finishes=("errors",), opens=("room",)),),
        rooms=(Room(name="room", says="A room."),),
    )
    (tmp_path / "room").mkdir()
    (tmp_path / "errors.py").write_text("")
    module = tmp_path / "room/inside.py"
    module.write_text("")
    before = architecture.picture(course, tmp_path)
    module.write_text("def f():\n    from bhushgpt.errors import UserError\n")
    after = architecture.picture(course, tmp_path)
    assert before.count('<path d="M') == 1 and after.count('<path d="M') == 2  # the tip is one


def test_every_room_stands_in_the_page_s_picture():
    drawn = architecture.FILE.read_text(encoding="utf-8")
    assert all(f">{room.name}</text>" in drawn for room in read_curriculum().rooms)
