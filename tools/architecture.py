"""The picture of docs/architecture.md: who imports whom, read from the code.

    python -m tools.architecture     draws docs/architecture.svg anew

A box is a room, or a part of the core. An arrow goes from who imports to what is imported; those
that follow from others are left out. tests/test_architecture.py fails when the file is not what
the imports say.
"""

import ast
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

from tools.curriculum import PROGRAM, ROOT, Curriculum, modules_of, read_curriculum
from tools.imports import PACKAGE, imported_modules

FILE = ROOT / "docs/architecture.svg"
WIDTH, ROW = 760, 104
BOX_WIDTH, BOX_HEIGHT = 124, 50
Graph = dict[str, set[str]]


def parts(curriculum: Curriculum, package: Path) -> dict[str, str]:
    """Return the box of each module, and of each room's front."""
    base = curriculum.lessons[0].finishes
    boxes = {room.name: room.name for room in curriculum.rooms}
    for name in modules_of(package):
        first = name.split(".")[0]
        if first in boxes or first == "exercises":
            boxes[name] = first
        else:
            boxes[name] = "base" if name in base else "core"
    return {**boxes, PROGRAM: "commands"}


def imports(curriculum: Curriculum, package: Path) -> Graph:
    """Return what each box imports."""
    boxes = parts(curriculum, package)
    graph: Graph = {box: set() for box in boxes.values()}
    for name, path in modules_of(package).items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for target, _ in imported_modules(tree, name, boxes):
            if boxes[target] != boxes[name]:
                graph[boxes[name]].add(boxes[target])
    return graph


def reduced(graph: Graph) -> Graph:
    """Return the graph without the arrows that follow from others.

    >>> reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    {'a': {'b'}, 'b': {'c'}, 'c': set()}
    """
    reach: Graph = {}
    for box in TopologicalSorter(graph).static_order():
        reach[box] = graph[box].union(*(reach[below] for below in graph[box]))
    return {
        box: {
            below
            for below in graph[box]
            if not any(below in reach[other] for other in graph[box] - {below})
        }
        for box in graph
    }


def levels(graph: Graph) -> dict[str, int]:
    """Return how many boxes stand below each at most.

    >>> levels({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    {'c': 0, 'b': 1, 'a': 2}
    """
    found: dict[str, int] = {}
    for box in TopologicalSorter(graph).static_order():
        found[box] = max((found[below] + 1 for below in graph[box]), default=0)
    return found


def drawn(graph: Graph, modules: dict[str, int]) -> str:
    """Return the picture as SVG, `modules` saying how many each box has."""
    rows: dict[int, list[str]] = defaultdict(list)
    for box, level in sorted(levels(graph).items()):
        rows[level].append(box)
    height = ROW * len(rows)
    places: dict[str, tuple[float, float]] = {}
    arrows = reduced(graph)
    for level in sorted(rows):
        # From left to right as what they import stands below, so that few arrows cross.
        def wish(box: str) -> tuple[float, str]:
            below = [places[name][0] for name in arrows[box]]
            return (sum(below) / len(below) if below else 0.0, box)

        row = sorted(rows[level], key=wish)
        for number, box in enumerate(row):
            x = WIDTH * (number + 1) / (len(row) + 1)
            places[box] = (x, height - ROW * (level + 0.5))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    half = BOX_HEIGHT / 2
    for box in sorted(arrows):
        x, y = places[box]
        for below in sorted(arrows[box]):
            to_x, to_y = places[below]
            lines.append(
                f'<path d="M{x:.0f} {y + half:.0f} C{x:.0f} {y + half + 34:.0f} {to_x:.0f} '
                f'{to_y - half - 34:.0f} {to_x:.0f} {to_y - half:.0f}" fill="none" '
                'stroke="#555" stroke-width="1.5" marker-end="url(#tip)"/>'
            )
    for box in sorted(places):
        x, y = places[box]
        of_core = box in ("base", "core")
        count = f"{modules[box]} module{'s' * (modules[box] != 1)}"
        lines += [
            f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{y - half:.0f}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="8" fill="{"#e3ecf6" if of_core else "#fff"}" '
            'stroke="#1556a3" stroke-width="1.5"/>',
            f'<text x="{x:.0f}" y="{y - 3:.0f}" font-size="16">{escape(box)}</text>',
            f'<text x="{x:.0f}" y="{y + 15:.0f}" font-size="12" fill="#444">{count}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def picture(curriculum: Curriculum, package: Path) -> str:
    """Return the picture of a package as it is."""
    boxes = parts(curriculum, package)
    counts = Counter(boxes[name] for name in modules_of(package))
    return drawn(imports(curriculum, package), counts)


if __name__ == "__main__":
    FILE.write_text(picture(read_curriculum(), ROOT / PACKAGE), encoding="utf-8", newline="\n")
