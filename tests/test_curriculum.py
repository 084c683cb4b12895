"""The order of the course holds, and the checker of the order notices when it does not."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools.curriculum import (
    READING,
    ROOT,
    Curriculum,
    Lesson,
    Room,
    course_map,
    front_complaints,
    list_complaints,
    module_complaints,
    modules_of,
    notebook_complaints,
    read_curriculum,
    reading_complaints,
)

COURSE = read_curriculum()
PACKAGE = ROOT / "bhushgpt"

# A small course to try the checker on: three notebooks, a module each, and three rooms.
LESSONS = (
    Lesson(name="00_first", question="?", finishes=("early", "exercises.nb00"), opens=("sources",)),
    Lesson(name="01_second", question="?", finishes=("late",), opens=("attic",)),
    Lesson(name="02_third", question="?", finishes=("later",), opens=("cellar",), planned=True),
)
ROOMS = (
    Room(name="sources", says="Texts."),
    Room(name="attic", says="Old things.", uses=("sources",)),
    Room(name="cellar", says="Wine."),
)
SMALL = Curriculum(lessons=LESSONS, rooms=ROOMS)
OPENED = "Opened by notebook"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a package in which nothing is wrong."""
    folder = tmp_path / "bhushgpt"
    files = {
        "__init__.py": '"""Nothing."""\n',
        "__main__.py": "from bhushgpt.attic import chest\n",
        "exercises/__init__.py": '"""Nothing."""\n',
        "exercises/nb00.py": "from bhushgpt.early import thing\n",
        "early.py": "import math\n\nfrom bhushgpt.sources import book\n\nthing = math.pi\n",
        "late.py": "from bhushgpt.early import thing\n",
        "later.py": "from bhushgpt import early, late\n",
        "sources/__init__.py": f'"""Texts. {OPENED} 00. {READING} books."""\n'
        "from .books import book\n",
        "sources/books.py": "import bhushgpt.early\n",
        "attic/__init__.py": f'"""Old things. {OPENED} 01. {READING} keys, chests."""\n'
        "from .chests import chest\n",
        "attic/chests.py": "from bhushgpt.attic.keys import key\nimport bhushgpt.sources\n",
        "attic/keys.py": "from bhushgpt.later import x\n",
        "cellar/__init__.py": '"""Wine. Opened by notebook 02."""\n',
    }
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    return folder


def write_notebook(folder: Path, name: str, *cells: str) -> None:
    folder.mkdir(exist_ok=True)
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=code), folder / f"{name}.ipynb")


@pytest.fixture
def notebooks(package: Path) -> Path:
    """Return notebooks in which nothing is wrong."""
    folder = package.parent / "notebooks"
    write_notebook(folder, "00_first", "%matplotlib inline\nfrom bhushgpt.early import thing")
    cells = "import bhushgpt.late\nfrom bhushgpt.attic import chest", "not python ("
    write_notebook(folder, "01_second", "!ls", *cells)
    return folder


def test_every_core_module_and_room_is_listed_once_and_exists() -> None:
    complaints = list_complaints(COURSE, PACKAGE)
    assert not complaints, "\n".join(complaints)


def test_imports_in_the_package_follow_the_rules() -> None:
    complaints = module_complaints(COURSE, PACKAGE)
    assert not complaints, "\n".join(complaints)


def test_fronts_say_what_the_room_is_for_and_hand_names_on() -> None:
    complaints = front_complaints(COURSE, PACKAGE)
    assert not complaints, "\n".join(complaints)


def test_the_package_is_read_without_a_jump_forwards() -> None:
    complaints = reading_complaints(COURSE, PACKAGE)
    assert not complaints, "\n".join(complaints)


def test_notebooks_are_complete_and_import_only_what_is_finished_or_open() -> None:
    complaints = notebook_complaints(COURSE, ROOT / "notebooks")
    assert not complaints, "\n".join(complaints)


def test_the_readme_shows_the_course_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert course_map(COURSE.lessons) in readme, "run `python -m tools.curriculum`"


def lesson_of(path: Path) -> list[str]:
    """Return the notebooks that a module's docstring names as its lesson."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.findall(r"^Lesson: notebook (\d\d)\.", doc, re.MULTILINE)


@pytest.mark.parametrize("name", modules_of(PACKAGE))
def test_a_module_names_its_lesson_once(name: str) -> None:
    (number,) = lesson_of(modules_of(PACKAGE)[name])
    room = name.split(".")[0]
    if name in COURSE.finished:
        assert number == COURSE.lessons[COURSE.finished[name]].name[:2]
    elif room in COURSE.opened:  # a later notebook may be what teaches one of its modules
        assert number >= COURSE.lessons[COURSE.opened[room]].name[:2]


def loaded_by(statement: str) -> set[str]:
    """Return the names of the modules that a fresh Python has after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules, file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {*ran.stderr.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import bhushgpt.data",
        "import bhushgpt.sources",
        "from bhushgpt.__main__ import start; sys.argv = ['bhushgpt', '--help']; start()",
        "from bhushgpt.__main__ import start; sys.argv = ['bhushgpt']; start()",
    ],
)
def test_these_load_no_torch(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "tyro", "matplotlib"}


@pytest.mark.parametrize("module", ["bhushgpt.diagnosis", "bhushgpt.commands.doctor"])
def test_the_doctor_loads_no_torch(module: str) -> None:
    assert "torch" not in loaded_by(f"import {module}")


def test_what_is_loaded_would_be_noticed() -> None:
    assert "torch" in loaded_by("import bhushgpt.speed")


def test_a_sound_course_has_no_complaints(package: Path, notebooks: Path) -> None:
    assert list_complaints(SMALL, package) == []
    assert module_complaints(SMALL, package) == []
    assert front_complaints(SMALL, package) == []
    assert notebook_complaints(SMALL, notebooks) == []


FORWARDS = {
    "at the top": "from bhushgpt.late import x",
    "as a module": "import bhushgpt.late",
    "from the package": "from bhushgpt import late",
    "relative": "from .late import x",
    "relative, as a module": "from . import late",
    "under another name": "import bhushgpt.late as innocent",
    "in a function": "def f():\n    from bhushgpt.late import x\n    return x",
    "in a method": "class A:\n    def f(self):\n        import bhushgpt.late",
    "for types only": "import typing\nif typing.TYPE_CHECKING:\n    from bhushgpt import late",
    "by name": "import importlib\nm = importlib.import_module('bhushgpt.late')",
    "by relative name": "import importlib as i\nm = i.import_module('.late', 'bhushgpt')",
    "by the built-in function": "m = __import__('bhushgpt.late')",
}
# A notebook has no package to be relative to.
FROM_NOTEBOOKS = {name: code for name, code in FORWARDS.items() if "relative" not in name}


@pytest.mark.parametrize("code", FORWARDS.values(), ids=FORWARDS.keys())
def test_a_module_importing_forwards_is_caught(package: Path, code: str) -> None:
    (package / "early.py").write_text(code + "\n")
    (complaint,) = module_complaints(SMALL, package)
    assert complaint.startswith("early.py, line ")
    assert complaint.endswith("imports bhushgpt.late, which is there only from 01_second on.")


def test_an_exercise_importing_forwards_is_caught(package: Path) -> None:
    (package / "exercises" / "nb00.py").write_text("from ..late import x\n")
    (complaint,) = module_complaints(SMALL, package)
    assert "nb00.py, line 1 imports bhushgpt.late" in complaint


def test_an_import_of_nothing_is_caught(package: Path) -> None:
    (package / "late.py").write_text("from bhushgpt.nowhere import x\n")
    (complaint,) = module_complaints(SMALL, package)
    assert "which curriculum.toml does not know" in complaint


def test_an_unlisted_module_is_caught(package: Path) -> None:
    (package / "extra.py").write_text("\n")
    (complaint,) = list_complaints(SMALL, package)
    assert complaint.startswith("bhushgpt/extra.py is not in curriculum.toml")


def test_a_listed_module_that_is_missing_is_caught(package: Path) -> None:
    (package / "late.py").unlink()
    assert list_complaints(SMALL, package) == [
        "01_second finishes late, but there is no such module."
    ]


def test_what_is_listed_twice_is_caught(package: Path) -> None:
    again = Lesson(name="03_fourth", question="?", finishes=("early",), opens=("attic",))
    doubled = Curriculum(lessons=(*LESSONS, again), rooms=ROOMS)
    assert list_complaints(doubled, package) == [
        "early stands 2 times in the list.",
        "attic stands 2 times in the list.",
    ]


def test_notebooks_out_of_order_are_caught(package: Path) -> None:
    lessons = LESSONS[1], LESSONS[0], LESSONS[2]
    (complaint,) = list_complaints(Curriculum(lessons=lessons, rooms=ROOMS), package)
    assert "not in the order" in complaint


def test_a_room_without_a_door_a_lesson_or_a_folder_is_caught(package: Path) -> None:
    (package / "attic" / "__init__.py").unlink()
    rooms = (*ROOMS, Room(name="shed", says="Tools.", uses=("roof",)))
    assert list_complaints(Curriculum(lessons=LESSONS, rooms=rooms), package) == [
        "No notebook opens the room shed.",
        "attic/ has no front: add bhushgpt/attic/__init__.py.",
        "shed/ has no front: add bhushgpt/shed/__init__.py.",
        "There is no room roof to use.",
    ]


def test_rooms_in_a_circle_are_caught(package: Path) -> None:
    circle = (ROOMS[0], ROOMS[1], Room(name="cellar", says="Wine.", uses=("attic",)))
    tied = dataclasses.replace(circle[1], uses=("sources", "cellar"))
    rooms = (circle[0], tied, circle[2])
    (complaint,) = list_complaints(Curriculum(lessons=LESSONS, rooms=rooms), package)
    assert complaint.startswith("Rooms use each other in a circle: ")


# Each rule of the house, broken once: (file, what it imports, what is said).
BROKEN = {
    "a core module imports a room": (
        "late.py",
        "from bhushgpt.attic import chest",
        "late.py, line 1 imports bhushgpt.attic: of the rooms a core module imports only "
        "['sources'].",
    ),
    "behind the front of a room": (
        "late.py",
        "from bhushgpt.sources.books import book",
        "late.py, line 1 imports bhushgpt.sources.books: from outside a room only its front is "
        "imported, bhushgpt.sources.",
    ),
    "behind the front, as a module": (
        "attic/keys.py",
        "from bhushgpt.sources import books",
        "attic/keys.py, line 1 imports bhushgpt.sources.books: from outside a room only its front "
        "is imported, bhushgpt.sources.",
    ),
    "a room that it does not use": (
        "attic/keys.py",
        "def f():\n    from bhushgpt.cellar import bottle",
        "attic/keys.py, line 2 imports bhushgpt.cellar: attic may use ['sources'] alone.",
    ),
    "a front that reaches further": (
        "cellar/__init__.py",
        '"""Wine."""\nfrom bhushgpt.attic import chest',
        "cellar/__init__.py, line 2 imports bhushgpt.attic: cellar may use [] alone.",
    ),
    "sources before everything": (
        "sources/books.py",
        "from bhushgpt.late import x",
        "sources/books.py, line 1 imports bhushgpt.late: sources is used by core modules and "
        "imports none but notebook 00's.",
    ),
    "an exercise before its room is open": (
        "exercises/nb00.py",
        "from bhushgpt.attic import chest",
        "exercises/nb00.py, line 1 imports bhushgpt.attic, which is there only from 01_second on.",
    ),
    "the program": (
        "attic/keys.py",
        "from bhushgpt.__main__ import start",
        "attic/keys.py, line 1 imports bhushgpt.__main__: nothing imports the program.",
    ),
}


@pytest.mark.parametrize(("file", "code", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_named_with_its_file(package, file, code, said) -> None:
    (package / file).write_text(code + "\n")
    assert module_complaints(SMALL, package) == [said]


def test_a_front_that_does_more_than_hand_names_on_is_caught(package: Path) -> None:
    front = package / "attic" / "__init__.py"
    front.write_text('"""Bats."""\n\ndef chest():\n    pass\n' + "\n" * 40)
    assert front_complaints(SMALL, package) == [
        "attic: the front begins with other words than: Old things.",
        "attic: the front does not say: Opened by notebook 01.",
        "attic: the front does more than hand names on.",
        "attic: the front has 44 lines, at most 40.",
    ]


def test_a_jump_forwards_and_a_module_that_the_front_forgets_are_caught(package: Path) -> None:
    assert not reading_complaints(SMALL, package)
    (package / "early.py").write_text("from bhushgpt.later import x\n")
    (package / "late.py").write_text("def f():\n    from bhushgpt.later import x\n")
    (package / "attic" / "keys.py").write_text("from bhushgpt.attic import chests\n")
    (package / "sources" / "maps.py").touch()
    assert reading_complaints(SMALL, package) == [
        "sources: the front does not name each module once after 'To be read in this order:'",
        "early is read before later, which it imports.",
        "attic.keys is read before attic.chests, which it imports.",
    ]


@pytest.mark.parametrize("code", FROM_NOTEBOOKS.values(), ids=FROM_NOTEBOOKS.keys())
def test_a_notebook_from_the_future_is_caught(notebooks: Path, code: str) -> None:
    write_notebook(notebooks, "00_first", "x = 1", f"%matplotlib inline\n{code}")
    (complaint,) = notebook_complaints(SMALL, notebooks)
    assert complaint.startswith("00_first, cell 1, line ")
    assert complaint.endswith("imports bhushgpt.late, which is there only from 01_second on.")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("from bhushgpt.attic import chest", ", which is there only from 01_second on."),
        ("from bhushgpt.sources.books import book", ": a notebook imports only its front,"),
        ("from bhushgpt.sources import books", ": a notebook imports only its front,"),
    ],
)
def test_a_notebook_in_a_room_that_is_not_open_is_caught(notebooks, code, said) -> None:
    write_notebook(notebooks, "00_first", code)
    (complaint,) = notebook_complaints(SMALL, notebooks)
    assert said in complaint


def test_notebooks_and_list_must_agree(notebooks: Path) -> None:
    write_notebook(notebooks, "07_extra", "x = 1")
    write_notebook(notebooks, "02_third", "x = 1")
    (notebooks / "01_second.ipynb").unlink()
    assert notebook_complaints(SMALL, notebooks) == [
        "01_second.ipynb is in curriculum.toml, but not in the folder.",
        "02_third exists: take `planned` out of curriculum.toml.",
        "07_extra.ipynb is not in curriculum.toml.",
    ]
