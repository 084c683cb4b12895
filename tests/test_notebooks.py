"""Every notebook has the course's form, and every check of the form can fail."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat import NotebookNode, v4

from bhushgpt.figures import drawn
from bhushgpt.training_config import SCHEDULES, Schedule, TrainingConfig, learning_rate
from tools.hygiene import CHECKS
from tools.solution_leaks import leaks
from tools.stored_notebook import StoredNotebook, stored_notebooks
from tools.test import NBVAL, ROOT

NOTEBOOKS = stored_notebooks()
Plant = Callable[[NotebookNode], object]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[each.name for each in NOTEBOOKS])
def test_every_notebook_has_the_form(
    notebook: StoredNotebook, check: Callable[[StoredNotebook], list[str]]
) -> None:
    complaints = check(notebook)
    assert not complaints, "\n".join(complaints)


# ------------------------------------------------------------------ a sound notebook to spoil


def printed(source: str, text: str, *tags: str) -> NotebookNode:
    """Return a code cell that has printed something."""
    cell = v4.new_code_cell(source, outputs=[v4.new_output("stream", name="stdout", text=text)])
    cell.metadata = NotebookNode({"tags": list(tags)} if tags else {})
    return cell


def sound(name: str = "04_sound") -> StoredNotebook:
    """Return a notebook that no check complains about."""
    picture = v4.new_output("display_data", data={"image/png": "iVBORw0KGgo="})
    picture.metadata = NotebookNode({"image/png": {"alt": "A line that rises from 0 to 1."}})
    not_yet = "Not attempted yet: add the numbers."
    code = [
        v4.new_code_cell("show(figure)", outputs=[picture]),
        printed("from bhushgpt.bigram import Bigram\nassert Bigram", "equal\n", "finished"),
        printed("add.check(my_add)", not_yet),
        printed("multiply.check(my_multiply)", not_yet),
        *(printed(f"print({number})", f"{number}\n") for number in range(16)),
        printed("print(seconds)", "0.3 s\n", "nbval-ignore-output"),
    ]
    texts = ["# A title", "It takes 5 minutes.", "## A section", "### A part", "## Another section"]
    texts += ["Two words."] * (20 - len(texts))
    texts[5] = "See [the section](#A-section) and `code!` or $n! = 1$."
    texts[-2:] = ["[05](../notebooks/05_training.ipynb) is next.", "## Appendix"]
    markdown = [v4.new_markdown_cell(text) for text in texts]
    cells = markdown[:2] + [cell for pair in zip(code, markdown[2:], strict=False) for cell in pair]
    cells += code[len(markdown) - 2 :]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:03d}"
    for count, cell in enumerate([cell for cell in cells if cell.cell_type == "code"], start=1):
        cell["execution_count"] = count
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    node = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    return StoredNotebook(name=name, node=node, folder=Path(__file__).parent, size=1000)


def code_cell(node: NotebookNode, place: int = 5) -> NotebookNode:
    return [cell for cell in node.cells if cell.cell_type == "code"][place]


def text_cell(node: NotebookNode, place: int = 6) -> NotebookNode:
    return [cell for cell in node.cells if cell.cell_type == "markdown"][place]


def put(cell: NotebookNode, **values: object) -> None:
    for name, value in values.items():
        cell[name] = value


def tagged(cell: NotebookNode, *tags: str) -> None:
    cell["metadata"] = NotebookNode({"tags": list(tags)})


def picture(node: NotebookNode) -> NotebookNode:
    return code_cell(node, 0).outputs[0]


def without_pictures(node: NotebookNode) -> None:
    picture(node)["data"] = {"text/plain": "<Figure>"}


def untagged(node: NotebookNode) -> None:
    for cell in node.cells:
        cell["metadata"] = NotebookNode()


def all_measured(node: NotebookNode) -> None:
    for place in range(9, 20):
        tagged(code_cell(node, place), "nbval-ignore-output")


def plumbing(node: NotebookNode, count: int) -> None:
    for place in range(4, 4 + count):
        tagged(code_cell(node, place), "plumbing")


def error_output() -> NotebookNode:
    return v4.new_output("error", ename="KeyError", evalue="'x'", traceback=["KeyError: 'x'"])


def stderr_output() -> NotebookNode:
    return v4.new_output("stream", name="stderr", text="Warning")


# (the check that must notice, what is spoilt, words of its complaint)
DEFECTS: dict[str, tuple[str, Plant, str]] = {
    "two titles": ("headings", lambda n: put(text_cell(n), source="# Two"), "one H1"),
    "no title": ("headings", lambda n: put(n.cells[0], source="Text"), "one H1"),
    "a skipped level": ("headings", lambda n: put(text_cell(n), source="#### Deep"), "level 4"),
    "a nameless column": (
        "headings",
        lambda n: put(text_cell(n), source="||b|\n|---|---|\n|1|2|"),
        "a nameless column: ||b|",
    ),
    "no minutes": ("second cell", lambda n: put(n.cells[1], source="Soon."), "minutes"),
    "another kernel": (
        "kernel",
        lambda n: put(n.metadata.kernelspec, name="mine"),
        "kernel is 'mine'",
    ),
    "widget state": ("kernel", lambda n: put(n.metadata, widgets={}), "holds widgets"),
    "never executed": (
        "execution",
        lambda n: put(code_cell(n), execution_count=None, outputs=[]),
        "execution counts",
    ),
    "out of order": (
        "execution",
        lambda n: put(code_cell(n), execution_count=9),
        "execution counts",
    ),
    "a stored error": (
        "execution",
        lambda n: put(code_cell(n), outputs=[error_output()]),
        "holds an error",
    ),
    "a strange id": ("ids", lambda n: put(code_cell(n), id="3fa9c1"), "has the id '3fa9c1'"),
    "a doubled id": ("ids", lambda n: put(code_cell(n), id="cell-000"), "more than once"),
    "too much plumbing": ("ideas", lambda n: plumbing(n, 7), "67% carry the idea, less than 70%"),
    "an untagged import": (
        "ideas",
        lambda n: (plumbing(n, 1), put(code_cell(n, 9), source="import math")),
        "only imports",
    ),
    "an unknown tag": ("tags", lambda n: tagged(code_cell(n), "nbval-skip"), "'nbval-skip'"),
    "a word to nbval": (
        "tags",
        lambda n: put(code_cell(n), source="# NBVAL_SKIP\nprint(1)"),
        "speaks to nbval",
    ),
    "no finished cell": ("finished", untagged, "No cell is tagged"),
    "a finished cell without assertion": (
        "finished",
        lambda n: put(code_cell(n, 1), source="from bhushgpt.bigram import Bigram"),
        "asserts nothing",
    ),
    "a finished cell without the package": (
        "finished",
        lambda n: put(code_cell(n, 1), source="from bhushgpt.bigram import Bigram\nassert 1 == 1"),
        "uses nothing of the package",
    ),
    "mostly measured": ("compared", all_measured, "are compared"),
    "a compared warning": (
        "compared",
        lambda n: put(code_cell(n), outputs=[stderr_output()]),
        "stderr",
    ),
    "too short": ("size", lambda n: put(n, cells=n.cells[:39]), "There are 39 cells"),
    "too little text": (
        "size",
        lambda n: [put(cell, cell_type="raw") for cell in n.cells[3::6]],
        "markdown cells for",
    ),
    "too many words": ("size", lambda n: put(text_cell(n), source="word " * 2701), "words"),
    "a flood of lines": (
        "outputs",
        lambda n: put(code_cell(n).outputs[0], text="1\n" * 41),
        "prints 41 lines",
    ),
    "a flood of letters": (
        "outputs",
        lambda n: put(code_cell(n).outputs[0], text="x" * 2001),
        "2001 characters",
    ),
    "a heavy picture": (
        "outputs",
        lambda n: put(picture(n), data={"image/png": "A" * 140_000}),
        "105000 bytes",
    ),
    "a wall of text": ("outputs", lambda n: put(text_cell(n), source="word " * 301), "301 words"),
    "a wide line": ("code cells", lambda n: put(code_cell(n), source="x" * 89), "89 columns"),
    "a long cell": ("code cells", lambda n: put(code_cell(n), source="x\n" * 25), "26 lines"),
    "an empty cell": ("code cells", lambda n: put(text_cell(n), source=" "), "is empty"),
    "a shell command": ("code cells", lambda n: put(code_cell(n), source="!ls"), "shell"),
    "an installation": (
        "code cells",
        lambda n: put(code_cell(n), source="%pip install x"),
        "shell",
    ),
    "a path in the source": (
        "machine traces",
        lambda n: put(code_cell(n), source="open('/home/me/x')"),
        "'/home/'",
    ),
    "a path in an output": (
        "machine traces",
        lambda n: put(code_cell(n).outputs[0], text="saved C:\\Users\\me"),
        "Users",
    ),
    "a path of a moment": (
        "machine traces",
        lambda n: put(code_cell(n).outputs[0], text="saved '/tmp/x1y2/run'"),
        "'/tmp/'",
    ),
    "a local build": (
        "machine traces",
        lambda n: put(code_cell(n).outputs[0], text="torch 2.13.0+cpu"),
        "'+cpu'",
    ),
    "too few exercises": (
        "exercises",
        lambda n: put(code_cell(n, 2), source="print(1)"),
        "Only 1 cells",
    ),
    "a solved exercise": (
        "exercises",
        lambda n: put(code_cell(n, 2).outputs[0], text="Right: done."),
        "Only 1 cells",
    ),
    "an exclamation": ("wording", lambda n: put(text_cell(n), source="It works!"), "exclamation"),
    "a slogan": ("wording", lambda n: put(text_cell(n), source="Let's go."), "Let's"),
    "a name spelt wrongly": (
        "wording",
        lambda n: put(text_cell(n), source="It runs in Pytorch, as GPT2 does."),
        "writes 'Pytorch', not 'PyTorch'",
    ),
    "a dead link": (
        "links",
        lambda n: put(text_cell(n), source="[next](99_none.ipynb)"),
        "links to 99_none.ipynb",
    ),
    "an end that leads nowhere": (
        "onward",
        lambda n: put(text_cell(n, -2), source="[04](../notebooks/04_bigram.ipynb) was before."),
        "without a link to 05_training.ipynb",
    ),
    "a dead anchor": ("links", lambda n: put(text_cell(n), source="[up](#nowhere)"), "#nowhere"),
    "no picture": ("pictures", without_pictures, "no picture"),
    "a picture without words": (
        "pictures",
        lambda n: put(picture(n), metadata={}),
        "described as ''",
    ),
    "a picture from elsewhere": (
        "local images",
        lambda n: put(text_cell(n), source="![A long enough description](https://x.org/a.png)"),
        "from elsewhere",
    ),
    "an image tag from elsewhere": (
        "local images",
        lambda n: put(
            text_cell(n), source='<img src="http://x.org/a.png" alt="A description of it">'
        ),
        "from elsewhere",
    ),
    "a missing image": (
        "local images",
        lambda n: put(text_cell(n), source="![A long enough description](none.png)"),
        "does not exist",
    ),
    "an image without words": (
        "local images",
        lambda n: put(text_cell(n), source="![](conftest.py)"),
        "as ''",
    ),
    "a script from elsewhere": (
        "local images",
        lambda n: put(picture(n), data={"text/html": '<script src="https://x.org/a.js">'}),
        "loads something",
    ),
}


def test_the_sound_notebook_is_sound() -> None:
    notebook = sound()
    for name, check in CHECKS.items():
        assert check(notebook) == [], name


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_noticed(defect: str) -> None:
    check, plant, words = DEFECTS[defect]
    notebook = sound()
    plant(notebook.node)
    complaints = CHECKS[check](notebook)
    assert any(words in complaint for complaint in complaints), complaints


def test_every_check_has_a_planted_defect() -> None:
    assert {check for check, _, _ in DEFECTS.values()} == set(CHECKS) - {"solution leaks"}


def test_a_large_file_is_noticed() -> None:
    large = StoredNotebook(name="04_large", node=sound().node, folder=ROOT, size=1_500_001)
    assert CHECKS["size"](large) == ["The file has 1500001 bytes, more than 1500000."]


def test_a_notebook_without_build_needs_no_finished_cell() -> None:
    notebook = sound("01_pytorch_basics")
    untagged(notebook.node)
    assert CHECKS["finished"](notebook) == []


def test_a_comment_in_code_is_no_heading() -> None:
    notebook = sound()
    text_cell(notebook.node)["source"] = "```python\n# not a title\n```\n#no heading either"
    assert CHECKS["headings"](notebook) == []


def test_plumbing_below_the_limit_is_allowed() -> None:
    notebook = sound()
    plumbing(notebook.node, 6)  # of 21 code cells
    assert CHECKS["ideas"](notebook) == CHECKS["tags"](notebook) == []


# --------------------------------------------------------------------------- leaked solutions

ANSWER = '''
def causal_softmax(scores: Tensor) -> Tensor:
    """The reference."""
    length = scores.shape[-1]
    later = torch.triu(torch.ones(length, length), 1).bool()
    masked = scores.masked_fill(later, float("-inf"))
    return torch.softmax(masked, dim=-1)
'''
LEAKS = {
    "as it is": ANSWER,
    "with other names": ANSWER.replace("later", "mask")
    .replace("scores", "s")
    .replace("causal_softmax", "solution"),
    "without words": ANSWER.replace('    """The reference."""\n', "").replace(": Tensor", ""),
    "as bare statements": (
        "n = x.shape[-1]\nm = torch.triu(torch.ones(n, n), 1).bool()\n"
        'y = x.masked_fill(m, float("-inf"))\nw = torch.softmax(y, dim=-1)'
    ),
    "in a class": "class A:\n" + "\n".join("    " + line for line in ANSWER.split("\n")),
}
NO_LEAKS = {
    "a stub": "def causal_softmax(scores):\n    ...  # your code here",
    "a part of the way": "weights = torch.softmax(scores, dim=-1)",
    "another function": ANSWER.replace("dim=-1", "dim=-2"),
}


def with_code(source: str) -> StoredNotebook:
    notebook = sound()
    code_cell(notebook.node)["source"] = source
    return notebook


@pytest.mark.parametrize("source", LEAKS.values(), ids=LEAKS.keys())
def test_a_leaked_solution_is_noticed(source: str) -> None:
    (complaint,) = leaks(with_code(source), {"nb07.causal_softmax": ANSWER})
    assert complaint.endswith("holds the answer of nb07.causal_softmax.")


@pytest.mark.parametrize("source", NO_LEAKS.values(), ids=NO_LEAKS.keys())
def test_what_is_no_solution_is_allowed(source: str) -> None:
    assert leaks(with_code(source), {"nb07.causal_softmax": ANSWER}) == []


def test_a_leaked_class_is_noticed() -> None:
    answer = f"class Head:\n    def __init__(self):\n        pass\n{LEAKS['in a class'][9:]}"
    assert leaks(with_code(answer.replace("Head", "My")), {"e": answer}) != []
    assert leaks(with_code("class Head:\n    pass"), {"e": answer}) == []


# --------------------------------------------------------------- nbval, as the tests use it


def schedules(stored: int, drawn_now: int) -> NotebookNode:
    """Return a cell that draws so many schedules, with the stored picture of another number."""
    fig, ax = plt.subplots()
    for schedule in SCHEDULES[:stored]:
        ax.plot(learning_rates(schedule), label=schedule)
    picture = v4.new_output("display_data", data={"image/png": "", "text/plain": drawn(fig)})
    plt.close(fig)
    source = f"""
import matplotlib.pyplot as plt
from bhushgpt.figures import show
from bhushgpt.training_config import SCHEDULES, TrainingConfig, learning_rate

fig, ax = plt.subplots()
for schedule in SCHEDULES[:{drawn_now}]:
    config = TrainingConfig(steps=50, warmup_steps=5, learning_rate=1.0, schedule=schedule)
    ax.plot([learning_rate(step, config) for step in range(50)], label=schedule)
show(fig, alt="Learning rates of schedules over 50 steps.")
"""
    return v4.new_code_cell(source.strip(), outputs=[picture])


def learning_rates(schedule: Schedule) -> list[float]:
    config = TrainingConfig(steps=50, warmup_steps=5, learning_rate=1.0, schedule=schedule)
    return [learning_rate(step, config) for step in range(50)]


CELLS = {
    "a picture, the same": schedules(4, 4),
    "a picture of three, four drawn now": schedules(3, 4),
    "finished, holds": printed("assert 1 + 1 == 2\nprint('equal')", "equal\n", "finished"),
    "finished, holds no longer": printed(
        "assert 1 + 1 == 3\nprint('equal')", "equal\n", "finished"
    ),
    "compared, the same": printed("print(0.25)", "0.25\n"),
    "compared, another number": printed("print(0.25)", "0.26\n"),
    "measured, another number": printed("print(0.25)", "0.26\n", "nbval-ignore-output"),
    "another build of torch": printed("print('2.13.0+cpu')", "2.13.0\n"),
    "a warning that was not there": printed("import sys\nsys.stderr.write('x')\nprint(1)", "1\n"),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what nbval says of each cell, called as `make test` calls it."""
    folder = tmp_path_factory.mktemp("nbval")
    for count, cell in enumerate(CELLS.values(), start=1):
        cell["execution_count"] = count
    nbformat.write(v4.new_notebook(cells=list(CELLS.values())), folder / "tiny.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *NBVAL, "-rA", "-p", "no:cacheprovider", str(folder)],
        cwd=ROOT,
        env={**os.environ, "IPYTHONDIR": str(folder / "ipython")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    said = re.findall(r"^(PASSED|FAILED) \S*tiny.ipynb::Cell (\d+)", done.stdout, re.MULTILINE)
    found = {int(cell): verdict for verdict, cell in said}
    return {name: found[place] for place, name in enumerate(CELLS)}


@pytest.mark.parametrize("name", ["finished, holds", "compared, the same", "a picture, the same"])
def test_what_holds_passes(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name] == "PASSED"


def test_a_finished_cell_that_no_longer_holds_fails(verdicts: dict[str, str]) -> None:
    assert verdicts["finished, holds no longer"] == "FAILED"


def test_a_compared_cell_that_prints_something_else_fails(verdicts: dict[str, str]) -> None:
    assert verdicts["compared, another number"] == "FAILED"
    assert verdicts["a warning that was not there"] == "FAILED"


def test_a_stored_picture_of_what_the_code_no_longer_draws_fails(verdicts: dict[str, str]) -> None:
    assert verdicts["a picture of three, four drawn now"] == "FAILED"


def test_a_measured_cell_may_print_something_else(verdicts: dict[str, str]) -> None:
    assert verdicts["measured, another number"] == "PASSED"
    assert verdicts["another build of torch"] == "PASSED"
