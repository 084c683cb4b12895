"""The order of the course, read from curriculum.toml, and what breaks it.

A module may import only modules that the same or an earlier notebook finishes, a notebook only
modules finished by then. Each `..._complaints` function returns sentences, none when all is well.

    python -m tools.curriculum      brings the table in README.md up to date
"""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from tools.imports import PACKAGE, code_trees, imported_modules

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One entry of curriculum.toml."""

    name: str
    question: str
    minutes: int = 0
    """How long a learner takes for it, reading and exercises included."""
    finishes: tuple[str, ...] = ()
    """Modules, named below the package."""
    planned: bool = False
    """The notebook is not written yet; its modules may be."""


def read_curriculum(path: Path = ROOT / "curriculum.toml") -> list[Lesson]:
    """Return the lessons in their order."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["notebook"]
    return [Lesson(**{**entry, "finishes": tuple(entry["finishes"])}) for entry in entries]


def course_map(lessons: Iterable[Lesson]) -> str:
    """Return the table of README.md: what each notebook asks and which modules it finishes."""
    rows = ["| notebook | the question | finishes |", "| --- | --- | --- |"]
    for lesson in lessons:
        name = f"[{lesson.name}](notebooks/{lesson.name}.ipynb)"
        modules = [name for name in lesson.finishes if not name.startswith("exercises.")]
        finishes = ", ".join(f"`{module}`" for module in modules) or "(nothing)"
        shown = f"{lesson.name} (planned)" if lesson.planned else name
        rows.append(f"| {shown} | {lesson.question} | {finishes} |")
    return "\n".join(rows)


def modules_of(package: Path) -> dict[str, Path]:
    """Return the package's modules by their names below it; the empty `__init__` are not modules.

    A folder's `__init__.py` may hold words about the folder, but no imports and no definitions.
    """
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] != "__init__":
            found[".".join(parts)] = path
    return found


def list_complaints(lessons: Sequence[Lesson], modules: Iterable[str]) -> list[str]:
    """Return what is wrong with the list: each module must stand in it once, and exist."""
    modules = set(modules)
    listed = Counter(module for lesson in lessons for module in lesson.finishes)
    names = [lesson.name for lesson in lessons]
    complaints = [
        f"{name} stands {count} times in the list." for name, count in listed.items() if count > 1
    ]
    complaints += [
        f"{PACKAGE}/{name.replace('.', '/')}.py is not in curriculum.toml: name it in `finishes` "
        "of the notebook that finishes it."
        for name in sorted(modules - set(listed))
    ]
    complaints += [
        f"{lesson.name} finishes {module}, but there is no such module."
        for lesson in lessons
        for module in lesson.finishes
        if not lesson.planned and module not in modules
    ]
    if names != sorted(set(names)):
        complaints.append("The notebooks are not in the order of their numbers, each once.")
    return complaints


def module_complaints(lessons: Sequence[Lesson], package: Path) -> list[str]:
    """Return the imports in the package that look forward in the course."""
    finished = _finished(lessons)
    paths = modules_of(package)
    complaints = []
    for name, path in paths.items():
        if name not in finished:
            continue  # list_complaints says so
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        place = finished[name]
        for target, line in imported_modules(tree, name, [*paths, *finished]):
            complaints += _judged(f"{path.name}, line {line}", place, target, lessons, finished)
    return list(dict.fromkeys(complaints))


def notebook_complaints(lessons: Sequence[Lesson], folder: Path) -> list[str]:
    """Return the notebooks that are missing, not listed or from the future."""
    finished = _finished(lessons)
    places = {lesson.name: place for place, lesson in enumerate(lessons)}
    files = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    complaints = []
    for lesson in lessons:
        if lesson.planned and lesson.name in files:
            complaints.append(f"{lesson.name} exists: take `planned` out of curriculum.toml.")
        if not lesson.planned and lesson.name not in files:
            complaints.append(f"{lesson.name}.ipynb is in curriculum.toml, but not in the folder.")
    for name, path in files.items():
        if name not in places:
            complaints.append(f"{name}.ipynb is not in curriculum.toml.")
            continue
        for index, tree in code_trees(nbformat.read(path, as_version=4)):
            for target, line in imported_modules(tree, "", finished):
                where = f"{name}, cell {index}, line {line}"
                complaints += _judged(where, places[name], target, lessons, finished)
    return list(dict.fromkeys(complaints))


def _finished(lessons: Sequence[Lesson]) -> dict[str, int]:
    """Return for each module the place of the lesson that finishes it."""
    return {module: place for place, lesson in enumerate(lessons) for module in lesson.finishes}


def _judged(
    where: str, place: int, target: str, lessons: Sequence[Lesson], finished: dict[str, int]
) -> list[str]:
    """Return the complaint about one import, or nothing."""
    if target in finished and finished[target] <= place:
        return []
    if target not in finished:
        if any(module.startswith(f"{target}.") for module in finished):
            return []  # a folder of modules, which holds nothing itself
        return [f"{where} imports {PACKAGE}.{target}, which curriculum.toml does not know."]
    return [
        f"{where} imports {PACKAGE}.{target}, which is finished only in "
        f"{lessons[finished[target]].name}."
    ]


def write_course_map(readme: Path) -> None:
    """Put the table as it is now in the place of the one in README.md."""
    text = readme.read_text(encoding="utf-8")
    table = re.search(r"^\| notebook \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    if table is None:
        raise ValueError("README.md has no table that begins with '| notebook |'.")
    new = text.replace(table[0], course_map(read_curriculum()) + "\n")
    readme.write_text(new, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write_course_map(ROOT / "README.md")
