"""The order of the course and the plan of the package, from curriculum.toml, and what breaks them.

A core module imports core modules that the same or an earlier notebook finishes, and of the rooms
only `sources`. A room imports core modules and the rooms that it uses. From outside a room only its
front is imported. Each `..._complaints` function returns sentences, none when all is well.

    python -m tools.curriculum      brings the table in README.md up to date
"""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import nbformat

from tools.imports import PACKAGE, code_trees, imported_modules

ROOT = Path(__file__).resolve().parent.parent


PROGRAM = "__main__"  # starts the commands
CORE_MAY_USE = ("sources",)
FRONT_LINES = 40


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A notebook of curriculum.toml."""

    name: str
    question: str
    builds: str = ""
    """What comes out of it, for the table of README.md."""
    minutes: int = 0
    """How long a learner takes for it, reading and exercises included."""
    finishes: tuple[str, ...] = ()
    """Core modules, named below the package."""
    opens: tuple[str, ...] = ()
    """Rooms whose front a notebook may import from here on."""
    planned: bool = False
    """The notebook is not written yet; its modules may be."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room of curriculum.toml: a folder of the package."""

    name: str
    says: str
    """What it is for, in a sentence: also the first line of its front."""
    uses: tuple[str, ...] = ()
    """Other rooms that it imports."""


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The order of the course, and the rooms of the package."""

    lessons: tuple[Lesson, ...]
    rooms: tuple[Room, ...]

    @cached_property
    def finished(self) -> dict[str, int]:
        """The place of the lesson that finishes each module."""
        return {module: n for n, lesson in enumerate(self.lessons) for module in lesson.finishes}

    @cached_property
    def opened(self) -> dict[str, int]:
        """The place of the lesson that opens each room."""
        return {room: n for n, lesson in enumerate(self.lessons) for room in lesson.opens}

    @cached_property
    def uses(self) -> dict[str, tuple[str, ...]]:
        """The rooms that each room imports."""
        return {room.name: room.uses for room in self.rooms}


def read_curriculum(path: Path = ROOT / "curriculum.toml") -> Curriculum:
    """Return the lessons in their order, and the rooms."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))

    def made(kind: type, entry: dict[str, Any]) -> Any:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()})

    return Curriculum(
        lessons=tuple(made(Lesson, entry) for entry in entries["notebook"]),
        rooms=tuple(made(Room, entry) for entry in entries["room"]),
    )


def course_map(lessons: Iterable[Lesson]) -> str:
    """Return the table of README.md: each notebook, its question, what it builds, and minutes."""
    rows = ["| notebook | the question | what you build | minutes |", "| --- | --- | --- | --- |"]
    for lesson in lessons:
        link = f"[{lesson.name}](notebooks/{lesson.name}.ipynb)"
        shown = f"{lesson.name} (planned)" if lesson.planned else link
        rows.append(f"| {shown} | {lesson.question} | {lesson.builds} | {lesson.minutes} |")
    return "\n".join(rows)


def modules_of(package: Path) -> dict[str, Path]:
    """Return the package's modules by their names below it; fronts (`__init__`) are no modules."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] != "__init__":
            found[".".join(parts)] = path
    return found


def list_complaints(curriculum: Curriculum, package: Path) -> list[str]:
    """Return what is wrong with the list: each core module and each room stands in it once."""
    modules = modules_of(package)
    rooms = [room.name for room in curriculum.rooms]
    core = {name for name in modules if name.split(".")[0] not in rooms and name != PROGRAM}
    finishes = [module for lesson in curriculum.lessons for module in lesson.finishes]
    opens = [room for lesson in curriculum.lessons for room in lesson.opens]
    complaints = [
        f"{name} stands {count} times in the list."
        for name, count in [*Counter(finishes).items(), *Counter(opens).items()]
        if count > 1
    ]
    complaints += [
        f"{PACKAGE}/{name.replace('.', '/')}.py is not in curriculum.toml: name it in `finishes` "
        "of the notebook that finishes it, or put it into a room."
        for name in sorted(core - {*finishes})
    ]
    complaints += [
        f"{lesson.name} finishes {module}, but there is no such module."
        for lesson in curriculum.lessons
        for module in lesson.finishes
        if module not in core
    ]
    complaints += [f"No notebook opens the room {room}." for room in rooms if room not in opens]
    complaints += [f"There is no room {room}." for room in opens if room not in rooms]
    complaints += [
        f"{room}/ has no front: add {PACKAGE}/{room}/__init__.py."
        for room in rooms
        if not (package / room / "__init__.py").is_file()
    ]
    names = [lesson.name for lesson in curriculum.lessons]
    if names != sorted(set(names)):
        complaints.append("The notebooks are not in the order of their numbers, each once.")
    return complaints + _circles(curriculum)


def _circles(curriculum: Curriculum) -> list[str]:
    """Return the rooms that use each other in a circle, or rooms that do not exist."""
    try:
        TopologicalSorter(curriculum.uses).prepare()
    except CycleError as error:
        return [f"Rooms use each other in a circle: {' -> '.join(error.args[1])}."]
    used = {name for uses in curriculum.uses.values() for name in uses}
    return [f"There is no room {name} to use." for name in sorted(used - {*curriculum.uses})]


def front_complaints(curriculum: Curriculum, package: Path) -> list[str]:
    """Return the fronts that are more than a docstring and names handed on."""
    complaints = []
    for room in curriculum.rooms:
        path = package / room.name / "__init__.py"
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        rest = tree.body[1:]
        if not (ast.get_docstring(tree) or "").startswith(room.says):
            complaints.append(f"{room.name}: the front begins with other words than: {room.says}")
        number = curriculum.lessons[curriculum.opened[room.name]].name[:2]
        if f"Opened by notebook {number}." not in source:
            complaints.append(f"{room.name}: the front does not say: Opened by notebook {number}.")
        hands_on = (ast.ImportFrom, ast.Assign, ast.AnnAssign)  # a table of names is data
        if any(not isinstance(node, hands_on) for node in rest):
            complaints.append(f"{room.name}: the front does more than hand names on.")
        if (lines := source.count("\n")) > FRONT_LINES:
            complaints.append(f"{room.name}: the front has {lines} lines, at most {FRONT_LINES}.")
    return complaints


READING = "To be read in this order:"


def reading_complaints(curriculum: Curriculum, package: Path) -> list[str]:
    """Return where a reader would have to jump forwards: imports of what comes later.

    Core modules are read in the order of curriculum.toml, those of a room in the order that its
    front names. Imports inside functions, which break circles or save time, do not count.
    """
    orders = [[m for m in curriculum.finished if not m.startswith("exercises.")]]
    modules, complaints = modules_of(package), []
    for room in curriculum.uses:
        front = (package / room / "__init__.py").read_text(encoding="utf-8")
        _, _, told = (ast.get_docstring(ast.parse(front)) or "").partition(READING)
        there = [name for name in modules if name.startswith(f"{room}.")]
        words = [f"{room}.{word}" for word in re.findall(r"\w+", told)]
        order = [word for word in words if word in there]
        if sorted(order) != there:
            complaints.append(f"{room}: the front does not name each module once after {READING!r}")
        orders.append(order)
    for order in orders:
        for place, name in enumerate(order):
            tree = ast.parse(modules[name].read_text(encoding="utf-8"))
            tree.body = [
                node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            complaints += [
                f"{name} is read before {later}, which it imports."
                for later, _ in imported_modules(tree, name, modules)
                if later in order[place + 1 :]
            ]
    return list(dict.fromkeys(complaints))


def module_complaints(curriculum: Curriculum, package: Path) -> list[str]:
    """Return the imports in the package that break a rule, inside functions and fronts too."""
    paths = modules_of(package)
    known = [*paths, *curriculum.finished, *curriculum.uses]
    fronts = {room: package / room / "__init__.py" for room in curriculum.uses}
    complaints = []
    for name, path in [*paths.items(), *fronts.items()]:
        if not path.is_file():
            continue  # list_complaints says so
        here = name if name in paths else f"{name}.__init__"
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for target, line in imported_modules(tree, here, known):
            if complaint := _broken_rule(name, target, curriculum):
                place = path.relative_to(package).as_posix()
                complaints.append(f"{place}, line {line} imports {PACKAGE}.{target}{complaint}")
    return list(dict.fromkeys(complaints))


def _broken_rule(name: str, target: str, curriculum: Curriculum) -> str:
    """Return which rule the import of one module by another breaks, "" if none."""
    rooms = curriculum.uses
    here, there = (n.split(".")[0] for n in (name, target))
    starts = name == PROGRAM and there == "commands"  # the program is that room's own beginning
    if there in rooms and target != there != here and not starts:
        return f": from outside a room only its front is imported, {PACKAGE}.{there}."
    if there not in rooms:
        if target == PROGRAM:
            return ": nothing imports the program."
        if target not in curriculum.finished:
            return ", which curriculum.toml does not know."
        if here in rooms or name == PROGRAM:
            early = here in CORE_MAY_USE and curriculum.finished[target] > 0
            return f": {here} is used by core modules and imports none but notebook 00's." * early
        return _too_early(curriculum.finished[target], curriculum.finished[name], curriculum)
    if here == there or name == PROGRAM:
        return ""
    if here in rooms:
        return "" if there in rooms[here] else f": {here} may use {[*rooms[here]]} alone."
    if here == "exercises":  # their notebook may import the room, so they may
        return _too_early(curriculum.opened[there], curriculum.finished[name], curriculum)
    if there in CORE_MAY_USE:
        return _too_early(curriculum.opened[there], curriculum.finished[name], curriculum)
    return f": of the rooms a core module imports only {[*CORE_MAY_USE]}."


def _too_early(place: int, now: int, curriculum: Curriculum) -> str:
    if place <= now:
        return ""
    return f", which is there only from {curriculum.lessons[place].name} on."


def notebook_complaints(curriculum: Curriculum, folder: Path) -> list[str]:
    """Return the notebooks that are missing, not listed or from the future."""
    lessons = curriculum.lessons
    places = {lesson.name: place for place, lesson in enumerate(lessons)}
    files = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    known = [*curriculum.finished, *curriculum.uses, *modules_of(folder.parent / PACKAGE)]
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
            for target, line in imported_modules(tree, "", known):
                if complaint := _broken_in_notebook(places[name], target, curriculum):
                    where = f"{name}, cell {index}, line {line}"
                    complaints.append(f"{where} imports {PACKAGE}.{target}{complaint}")
    return list(dict.fromkeys(complaints))


def _broken_in_notebook(place: int, target: str, curriculum: Curriculum) -> str:
    room = target.split(".")[0]
    if room in curriculum.uses:
        if target != room:
            return f": a notebook imports only its front, {PACKAGE}.{room}."
        return _too_early(curriculum.opened[room], place, curriculum)
    if target in curriculum.finished:
        return _too_early(curriculum.finished[target], place, curriculum)
    return ", which curriculum.toml does not know."


def write_course_map(readme: Path) -> None:
    """Put the table as it is now in the place of the one in README.md."""
    text = readme.read_text(encoding="utf-8")
    table = re.search(r"^\| notebook \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    if table is None:
        raise ValueError("README.md has no table that begins with '| notebook |'.")
    new = text.replace(table[0], course_map(read_curriculum().lessons) + "\n")
    readme.write_text(new, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write_course_map(ROOT / "README.md")
