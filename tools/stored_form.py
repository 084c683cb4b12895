"""The form in which a notebook is stored: independent of the moment and of the machine.

`normalised` gives that form, `store` writes it, `differences` says what a second run changed.
"""

import copy
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
MEASURED = "nbval-ignore-output"  # the tag of cells that print measured things
WIDGET = "application/vnd.jupyter.widget-view+json"

COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
STABLE_ID = re.compile(r"cell-\d{3,}")
KERNEL_FILE = re.compile(r"\S*ipykernel_\d+[/\\]+\d+\.py")
LOCAL_BUILD = re.compile(r"(\d+\.\d+\.\d+)\+cpu\b")


def machine_paths() -> list[tuple[str, str]]:
    """Return pairs (folder of this machine, what to write instead), the longest folder first."""
    named = [
        (str(ROOT), "<project>"),
        (sys.prefix, "<environment>"),
        (sys.base_prefix, "<python>"),
        (tempfile.gettempdir(), "<temporary>"),
        (str(Path.home()), "~"),
    ]
    both = named + [(str(Path(path).resolve()), word) for path, word in named]
    return sorted(set(both), key=lambda pair: (-len(pair[0]), pair))


def last_of_line(text: str) -> str:
    r"""Return the text as a terminal shows it in the end: what follows the last \r of each line.

    >>> last_of_line("10%\r50%\r100%\ndone\n")
    '100%\ndone\n'
    >>> last_of_line("100%\r")
    '100%'
    """
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def clean_text(text: str) -> str:
    r"""Return output text without colours, overwritten lines and traces of this machine.

    >>> clean_text("\x1b[31mtorch 2.13.0+cpu\x1b[0m")
    'torch 2.13.0'
    """
    text = last_of_line(COLOUR.sub("", text).replace("\r\n", "\n"))
    text = LOCAL_BUILD.sub(r"\1", KERNEL_FILE.sub("<cell>", text))
    for path, word in machine_paths():
        text = re.sub(re.escape(path) + r"(?![\w.-])", lambda _, word=word: word, text)
    return text


def joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs with neighbouring pieces of one stream as one piece."""
    joined: list[NotebookNode] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if (
            output.output_type == "stream"
            and before is not None
            and before.output_type == "stream"
            and before.name == output.name
        ):
            before["text"] += output.text
        else:
            joined.append(copy.deepcopy(output))
    return joined


def normal_output(output: NotebookNode) -> NotebookNode:
    """Return one output without what depends on the moment or the machine."""
    if output.output_type == "stream":
        output["text"] = clean_text(output.text)
    elif output.output_type == "error":
        output["evalue"] = clean_text(output.evalue)
        output["traceback"] = [clean_text(line) for line in output.traceback]
    else:
        # A stored view of a widget is dead without its state; the text beside it stays.
        output["data"] = {
            kind: clean_text(value) if kind.startswith("text/") else value
            for kind, value in output.data.items()
            if kind != WIDGET
        }
    return output


def stable_ids(cells: list[NotebookNode]) -> None:
    """Keep ids of the form cell-007; give the other cells, and doubles, the next free number."""
    seen: set[str] = set()
    strange = []
    for cell in cells:
        if STABLE_ID.fullmatch(cell.get("id", "")) and cell.id not in seen:
            seen.add(cell.id)
        else:
            strange.append(cell)
    free = max((int(name.removeprefix("cell-")) for name in seen), default=-1) + 1
    for number, cell in enumerate(strange, start=free):
        cell["id"] = f"cell-{number:03d}"


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook in the form that is stored.

    Gone are: timestamps and other metadata than tags, widget state, colours, overwritten
    progress lines, folders of this machine, the `+cpu` of a torch version. The kernel is python3.
    """
    result = copy.deepcopy(notebook)
    stable_ids(result.cells)
    for cell in result.cells:
        tags = cell.metadata.get("tags", [])
        cell["metadata"] = NotebookNode({"tags": list(tags)} if tags else {})
        if cell.cell_type == "code":
            cell["outputs"] = [normal_output(each) for each in joined_streams(cell.outputs)]
    result["metadata"] = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    result["nbformat"], result["nbformat_minor"] = 4, 5
    return result


def written(notebook: NotebookNode) -> str:
    """Return the notebook as the text of its file."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"


def store(notebook: NotebookNode, path: Path) -> bool:
    """Write a notebook in one step and return whether its file changed."""
    text = written(notebook)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)
    return True


def comparable(cell: NotebookNode) -> list[Any]:
    """Return what of a cell's outputs a second run must give again."""
    return [
        {key: value for key, value in output.items() if key != "execution_count"}
        for output in cell.outputs
    ]


def differences(stored: NotebookNode, fresh: NotebookNode) -> Iterator[str]:
    """Yield a line for each cell outside the measured ones whose outputs differ."""
    for index, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        if old.cell_type != "code" or MEASURED in old.metadata.get("tags", []):
            continue
        if comparable(old) != comparable(new):
            yield f"cell {index} ({old.id}) printed something else: {first_change(old, new)}"
        elif old.execution_count != new.execution_count:
            yield f"cell {index} ({old.id}) has execution count {old.execution_count}"


def first_change(old: NotebookNode, new: NotebookNode) -> str:
    """Return the first line in which two cells' outputs differ, stored and fresh."""
    before, after = (nbformat.v4.writes_json(_as_notebook(cell)).split("\n") for cell in (old, new))
    for left, right in zip(before, after, strict=False):
        if left != right:
            return f"stored {left.strip()[:70]!r}, now {right.strip()[:70]!r}"
    return "one has more outputs"


def _as_notebook(cell: NotebookNode) -> NotebookNode:
    alone = copy.deepcopy(cell)
    alone["execution_count"] = None
    for output in alone.outputs:
        output.pop("execution_count", None)
    return NotebookNode(cells=[alone], metadata={}, nbformat=4, nbformat_minor=5)
