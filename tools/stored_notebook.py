"""A notebook as it is stored, with the views of it that checks need."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools.stored_form import MEASURED, ROOT

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
CODE_OR_FORMULA = re.compile(r"`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class StoredNotebook:
    """One notebook file."""

    name: str
    """The file's name without its ending."""
    node: NotebookNode
    folder: Path
    """The folder that its links start from."""
    size: int = 0
    """Of the file, in bytes."""

    @classmethod
    def read(cls, path: Path) -> "StoredNotebook":
        """Return the notebook of a file."""
        return cls(
            name=path.stem,
            node=nbformat.read(path, as_version=4),
            folder=path.parent,
            size=path.stat().st_size,
        )

    @property
    def cells(self) -> list[NotebookNode]:
        """All cells."""
        return self.node.cells

    @property
    def code(self) -> list[tuple[int, NotebookNode]]:
        """The code cells, each with its place among all cells."""
        return [(i, cell) for i, cell in enumerate(self.cells) if cell.cell_type == "code"]

    @property
    def markdown(self) -> list[tuple[int, NotebookNode]]:
        """The markdown cells, each with its place among all cells."""
        return [(i, cell) for i, cell in enumerate(self.cells) if cell.cell_type == "markdown"]

    def headings(self) -> list[tuple[int, int, str]]:
        """Return (cell, level, text) of the headings; `#` in code is none."""
        return [
            (index, len(marks), text)
            for index, cell in self.markdown
            for marks, text in HEADING.findall(FENCE.sub("", cell.source))
        ]

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield (cell, text) for everything that a reader sees: sources and printed outputs."""
        for index, cell in enumerate(self.cells):
            yield index, cell.source
            for output in cell.get("outputs", []):
                yield index, output_text(output)


def stored_notebooks() -> list[StoredNotebook]:
    """Return the course's notebooks in their order."""
    return [StoredNotebook.read(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def output_text(output: NotebookNode) -> str:
    """Return all that an output says in text."""
    said = [str(output.get("text", "")), str(output.get("evalue", ""))]
    said += [str(line) for line in output.get("traceback", [])]
    said += [str(value) for kind, value in output.get("data", {}).items() if "image" not in kind]
    return "\n".join(part for part in said if part)


def tags(cell: NotebookNode) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.metadata.get("tags", []))


def is_compared(cell: NotebookNode) -> bool:
    """Return whether the tests compare what the cell prints."""
    return MEASURED not in tags(cell)


def prose(text: str) -> str:
    """Return markdown without code and formulas.

    >>> prose("Here `a! b` and $n!$ end.")
    'Here  and  end.'
    """
    return CODE_OR_FORMULA.sub("", FENCE.sub("", text))
