"""The order of the course holds, and the checker of the order notices when it does not."""

from pathlib import Path

import nbformat
import pytest

from tools.curriculum import (
    ROOT,
    Lesson,
    course_map,
    list_complaints,
    module_complaints,
    modules_of,
    notebook_complaints,
    read_curriculum,
)

LESSONS = read_curriculum()
PACKAGE = ROOT / "bhushgpt"

# A small course to try the checker on: two notebooks, one module each, and a third to come.
SMALL = [
    Lesson(name="00_first", question="?", finishes=("early", "exercises.nb00")),
    Lesson(name="01_second", question="?", finishes=("late",)),
    Lesson(name="02_third", question="?", finishes=("later",), planned=True),
]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a package in which nothing is wrong."""
    folder = tmp_path / "bhushgpt"
    (folder / "exercises").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Nothing."""\n')
    (folder / "exercises" / "__init__.py").write_text('"""Nothing."""\n')
    (folder / "exercises" / "nb00.py").write_text("from bhushgpt.early import thing\n")
    (folder / "early.py").write_text("import math\n\nthing = math.pi\n")
    (folder / "late.py").write_text("from bhushgpt.early import thing\n")
    (folder / "later.py").write_text("from bhushgpt import early, late\n")
    return folder


def write_notebook(folder: Path, name: str, *cells: str) -> None:
    folder.mkdir(exist_ok=True)
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=code), folder / f"{name}.ipynb")


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    """Return notebooks in which nothing is wrong."""
    folder = tmp_path / "notebooks"
    write_notebook(folder, "00_first", "%matplotlib inline\nfrom bhushgpt.early import thing")
    write_notebook(folder, "01_second", "!ls", "import bhushgpt.late", "not python (")
    return folder


def test_every_module_is_listed_once_and_exists() -> None:
    complaints = list_complaints(LESSONS, modules_of(PACKAGE))
    assert not complaints, "\n".join(complaints)


def test_modules_import_only_backwards() -> None:
    complaints = module_complaints(LESSONS, PACKAGE)
    assert not complaints, "\n".join(complaints)


def test_notebooks_are_complete_and_import_only_what_is_finished() -> None:
    complaints = notebook_complaints(LESSONS, ROOT / "notebooks")
    assert not complaints, "\n".join(complaints)


def test_the_readme_shows_the_course_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert course_map(LESSONS) in readme, "run `python -m tools.curriculum`"


def test_the_package_re_exports_nothing() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert "import " not in path.read_text(encoding="utf-8").split('"""')[-1], path


def test_a_sound_course_has_no_complaints(package: Path, notebooks: Path) -> None:
    assert list_complaints(SMALL, modules_of(package)) == []
    assert module_complaints(SMALL, package) == []
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
    assert complaint.endswith("imports bhushgpt.late, which is finished only in 01_second.")


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
    (complaint,) = list_complaints(SMALL, modules_of(package))
    assert complaint.startswith("bhushgpt/extra.py is not in curriculum.toml")


def test_a_listed_module_that_is_missing_is_caught(package: Path) -> None:
    (package / "late.py").unlink()
    assert list_complaints(SMALL, modules_of(package)) == [
        "01_second finishes late, but there is no such module."
    ]


def test_a_module_listed_twice_is_caught(package: Path) -> None:
    doubled = [*SMALL, Lesson(name="03_fourth", question="?", finishes=("early",), planned=True)]
    assert list_complaints(doubled, modules_of(package)) == ["early stands 2 times in the list."]


def test_notebooks_out_of_order_are_caught(package: Path) -> None:
    (complaint,) = list_complaints([SMALL[1], SMALL[0], SMALL[2]], modules_of(package))
    assert "not in the order" in complaint


@pytest.mark.parametrize("code", FROM_NOTEBOOKS.values(), ids=FROM_NOTEBOOKS.keys())
def test_a_notebook_from_the_future_is_caught(notebooks: Path, code: str) -> None:
    write_notebook(notebooks, "00_first", "x = 1", f"%matplotlib inline\n{code}")
    (complaint,) = notebook_complaints(SMALL, notebooks)
    assert complaint.startswith("00_first, cell 1, line ")
    assert complaint.endswith("imports bhushgpt.late, which is finished only in 01_second.")


def test_notebooks_and_list_must_agree(notebooks: Path) -> None:
    write_notebook(notebooks, "07_extra", "x = 1")
    write_notebook(notebooks, "02_third", "x = 1")
    (notebooks / "01_second.ipynb").unlink()
    assert notebook_complaints(SMALL, notebooks) == [
        "01_second.ipynb is in curriculum.toml, but not in the folder.",
        "02_third exists: take `planned` out of curriculum.toml.",
        "07_extra.ipynb is not in curriculum.toml.",
    ]
