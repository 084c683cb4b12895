"""Nothing that stands above an exercise in its lesson answers it."""

import nbformat
import pytest
from nbformat import v4

from tools.pasted_answers import pasted
from tools.stored_notebook import StoredNotebook, stored_notebooks

NOTEBOOKS = stored_notebooks()
ASKED = [
    ("from bhushgpt.exercises.nb00_start_here import window", ""),
    ("def my_window(T, n):\n    ...", "exercise"),
    ("window.check(my_window)", ""),
]
LINES = ["t = torch.arange(T)", "d = t[:, None] - t[None, :]", "mask = (d >= 0) & (d < n)"]
BODY = "".join(f"    {line}\n" for line in [*LINES, "return mask"])
BARE = "\n".join(LINES)
ABOVE = {
    "a function": f"import torch\ndef band(T, n):\n{BODY}",
    "a function that reads the lesson's own name": f"import torch\nn = 2\ndef band(T):\n{BODY}",
    "bare statements": f"import torch\nT, n = 4, 2\nprint(T)\n{BARE}",
    "a lambda": "import torch\nband = lambda T, n: torch.ones(T, T).tril().triu(1 - n)",
}


def lesson(*cells: tuple[str, str]) -> StoredNotebook:
    node = v4.new_notebook()
    for source, tag in cells:
        cell = v4.new_code_cell(source)
        cell.metadata = nbformat.NotebookNode({"tags": [tag]} if tag else {})
        node.cells.append(cell)
    return StoredNotebook(name="00_sound", node=node, folder=NOTEBOOKS[0].folder)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[each.name for each in NOTEBOOKS])
def test_nothing_above_an_exercise_answers_it(notebook: StoredNotebook) -> None:
    assert pasted(notebook) == []


@pytest.mark.parametrize("source", ABOVE.values(), ids=ABOVE.keys())
def test_an_answer_above_is_noticed(source: str) -> None:
    complaints = pasted(lesson((source, ""), *ASKED))
    assert complaints and all("answers my_window of cell 2" in line for line in complaints)


@pytest.mark.parametrize("source", ABOVE.values(), ids=ABOVE.keys())
def test_the_same_below_is_no_matter_of_this_check(source: str) -> None:
    assert pasted(lesson(*ASKED, (source, ""))) == []


def test_a_part_of_the_way_is_allowed() -> None:
    part = "import torch\ndef causal(T, n):\n    return torch.ones(T, T).tril()"
    assert pasted(lesson((part, ""), *ASKED)) == []
