"""The form of a notebook: what every lesson of the course has, and what none may have.

Each function returns complaints, none when all is well.
"""

import ast
import re

from IPython.core.inputtransformer2 import TransformerManager

from tools.imports import uses_package
from tools.stored_form import STABLE_ID
from tools.stored_notebook import StoredNotebook, is_compared, output_text, prose, tags

TAGS = {"finished", "nbval-ignore-output", "raises-exception", "gpu", "exercise", "plumbing"}
# These two build nothing by hand: one looks around, one names what PyTorch has.
WITHOUT_BUILD = {"00_start_here", "01_pytorch_basics"}
CELLS = range(40, 111)
MARKDOWN_PER_CODE = 0.85
WORDS = 2700
COLUMNS = 88
CODE_LINES = 25
BYTES = 1_500_000
# What one cell may show: more is scrolled past, or does not fit a screen.
OUTPUT_LINES = 40
OUTPUT_CHARACTERS = 2000
PICTURE_BYTES = 100_000
TEXT_WORDS = 300
EXERCISES = 2
IDEAS = 0.7  # of the code cells

OWN_PATH = re.compile(
    r"(?<![\w.~/:-])/(?:home|root|work|Users|tmp|mnt|opt)/|\b[A-Z]:\\+Users", re.IGNORECASE
)
NAMES = {
    "PyTorch": r"\bPy[Tt]orch\b",
    "NumPy": r"\b[Nn]um[Pp]y\b",
    "JupyterLab": r"\bJupyter ?[Ll]ab\b",
    "GPT-2": r"\bGPT ?-?2\b",
    "OpenWebText": r"\bOpen ?[Ww]eb ?[Tt]ext\b",
    "BhushGPT": r"\b[Bb]hush-?(?:GPT|gpt)\b",
    "AdamW": r"\bAdam-?[Ww]\b",
    "LayerNorm": r"\bLayer-?[Nn]orm\b",
    "JavaScript": r"\bJava ?[Ss]cript\b",
}
SHELL = re.compile(r"^\s*(?:!|%%?(?:pip|conda|bash|sh|cmd|system)\b)", re.MULTILINE)
URL = re.compile(r"\]\([^)]*\)|https?://\S+")
HEADER = re.compile(r"^(\|.*\|)[ ]*\n\|[-: |]+\|[ ]*$", re.MULTILINE)  # of a table
EXCLAMATION = re.compile(r"\w!(?=[\s\"')*_]|$)")


def headings(notebook: StoredNotebook) -> list[str]:
    """One H1, in the first cell; no level is skipped, and every column of a table has a head."""
    found = notebook.headings()
    complaints = []
    first = [index for index, level, _ in found if level == 1]
    if first != [0]:
        complaints.append(f"There must be one H1, in cell 0; there is one in the cells {first}.")
    before = 0
    for index, level, text in found:
        if level > before + 1:
            complaints.append(f"Cell {index}: {text!r} has level {level} after level {before}.")
        before = level
    for index, cell in notebook.markdown:
        for header in HEADER.findall(cell.source):
            if not all(name.strip() for name in header[1:-1].split("|")):
                complaints.append(f"Cell {index} has a table with a nameless column: {header}")
    return complaints


def second_cell(notebook: StoredNotebook) -> list[str]:
    """The second cell says, in words, how many minutes the lesson takes."""
    cell = notebook.cells[1] if len(notebook.cells) > 1 else None
    if cell is None or cell.cell_type != "markdown" or "minute" not in cell.source:
        return ["Cell 1 must be markdown and say how many minutes the lesson takes."]
    return []


def kernel(notebook: StoredNotebook) -> list[str]:
    """The kernel is python3, and nothing of the machine is in the metadata."""
    name = notebook.node.metadata.get("kernelspec", {}).get("name")
    complaints = [] if name == "python3" else [f"The kernel is {name!r}, not 'python3'."]
    extra = sorted(set(notebook.node.metadata) - {"kernelspec", "language_info"})
    if extra:
        complaints.append(f"The metadata holds {', '.join(extra)}: run tools/notebooks.py.")
    return complaints


def execution(notebook: StoredNotebook) -> list[str]:
    """Every code cell ran once, from top to bottom, and only announced errors are stored."""
    counts = [cell.execution_count for _, cell in notebook.code]
    complaints = []
    if counts != list(range(1, len(counts) + 1)):
        complaints.append("The execution counts are not 1, 2, 3, ...: run tools/notebooks.py.")
    for index, cell in notebook.code:
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed and "raises-exception" not in tags(cell):
            complaints.append(f"Cell {index} holds an error and is not tagged raises-exception.")
    return complaints


def identities(notebook: StoredNotebook) -> list[str]:
    """Every cell has an id of its own, of the form cell-007."""
    ids = [cell.get("id", "") for cell in notebook.cells]
    complaints = [
        f"Cell {index} has the id {name!r}: run tools/notebooks.py."
        for index, name in enumerate(ids)
        if not STABLE_ID.fullmatch(name)
    ]
    doubled = sorted({name for name in ids if ids.count(name) > 1})
    return complaints + [f"The id {name!r} stands more than once." for name in doubled]


def known_tags(notebook: StoredNotebook) -> list[str]:
    """Only the course's tags occur, and nothing is taken out of the tests."""
    complaints = []
    for index, cell in enumerate(notebook.cells):
        for tag in sorted(tags(cell) - TAGS):
            complaints.append(f"Cell {index} has the tag {tag!r}; there are {sorted(TAGS)}.")
        if cell.cell_type == "code" and re.search(r"#\s*(NBVAL_|PYTEST_VALIDATE)", cell.source):
            complaints.append(f"Cell {index} speaks to nbval in a comment: use a tag.")
    return complaints


def finished(notebook: StoredNotebook) -> list[str]:
    """A build ends with a cell that holds the package's version against the hand-made one."""
    proofs = [(index, cell) for index, cell in notebook.code if "finished" in tags(cell)]
    if not proofs and notebook.name not in WITHOUT_BUILD:
        return ["No cell is tagged `finished`."]
    complaints = []
    for index, cell in proofs:
        if not uses_package(notebook.node, index):
            complaints.append(f"Cell {index} is tagged `finished` but uses nothing of the package.")
        if not re.search(r"\bassert\b|\bassert_\w+\(", cell.source):
            complaints.append(f"Cell {index} is tagged `finished` but asserts nothing.")
    return complaints


def compared(notebook: StoredNotebook) -> list[str]:
    """Of the code cells that print, at least half are compared; warnings are not stored."""
    printing = [(index, cell) for index, cell in notebook.code if cell.outputs]
    strict = sum(is_compared(cell) for _, cell in printing)
    complaints = []
    if 2 * strict < len(printing):
        complaints.append(f"Only {strict} of {len(printing)} cells that print are compared.")
    for index, cell in printing:
        loud = any(output.get("name") == "stderr" for output in cell.outputs)
        if loud and is_compared(cell):
            complaints.append(f"Cell {index} is compared and writes to stderr.")
    return complaints


def size(notebook: StoredNotebook) -> list[str]:
    """A lesson can be read in one sitting, and its file be loaded at once."""
    words = sum(len(cell.source.split()) for _, cell in notebook.markdown)
    code, markdown = len(notebook.code), len(notebook.markdown)
    complaints = []
    if len(notebook.cells) not in CELLS:
        complaints.append(f"There are {len(notebook.cells)} cells, not {CELLS[0]} to {CELLS[-1]}.")
    if markdown < MARKDOWN_PER_CODE * code:
        complaints.append(f"There are {markdown} markdown cells for {code} code cells.")
    if words > WORDS:
        complaints.append(f"There are {words} words, more than {WORDS}.")
    if notebook.size > BYTES:
        complaints.append(f"The file has {notebook.size} bytes, more than {BYTES}.")
    return complaints


def outputs(notebook: StoredNotebook) -> list[str]:
    """What a cell says or shows fits a screen."""
    complaints = []
    for index, cell in notebook.markdown:
        if (words := len(cell.source.split())) > TEXT_WORDS:
            complaints.append(f"The text of cell {index} has {words} words, over {TEXT_WORDS}.")
    for index, cell in notebook.code:
        # Tables in markdown are pages of their own; what a picture says in text, no page shows.
        apart = {"text/markdown", "image/png"}
        shown = [o for o in cell.outputs if apart.isdisjoint(o.get("data", {}))]
        text = "".join(output_text(output) for output in shown)
        lines = text.count("\n")
        if lines > OUTPUT_LINES or len(text) > OUTPUT_CHARACTERS:
            complaints.append(f"Cell {index} prints {lines} lines, {len(text)} characters.")
        for output in cell.outputs:
            size = len(output.get("data", {}).get("image/png", "")) * 3 // 4
            if size > PICTURE_BYTES:
                complaints.append(f"The picture of cell {index} has {size} bytes.")
    return complaints


def code_cells(notebook: StoredNotebook) -> list[str]:
    """Code cells are narrow, short, not empty, and use no shell."""
    complaints = [
        f"Cell {index} is empty."
        for index, cell in enumerate(notebook.cells)
        if not cell.source.strip()
    ]
    for index, cell in notebook.code:
        lines = cell.source.split("\n")
        for line in lines:
            if len(line) > COLUMNS:
                complaints.append(f"Cell {index} has a line of {len(line)} columns: {line[:40]}")
        if len(lines) > CODE_LINES:
            complaints.append(f"Cell {index} has {len(lines)} lines of code.")
        if SHELL.search(cell.source):
            complaints.append(f"Cell {index} runs a shell command.")
    return complaints


def ideas(notebook: StoredNotebook) -> list[str]:
    """Most code cells carry the lesson's own idea; the others are tagged `plumbing`.

    Plumbing is what a learner may skim: imports, files and downloads, a figure that is drawn, a
    check of the machinery. A notebook without the tag has not been looked through yet.
    """
    plumbing = [index for index, cell in notebook.code if "plumbing" in tags(cell)]
    if not plumbing:
        return []
    complaints = [
        f"Cell {index} only imports: tag it `plumbing`."
        for index, cell in notebook.code
        if index not in plumbing and only_imports(cell.source)
    ]
    share = 1 - len(plumbing) / len(notebook.code)
    if share < IDEAS:
        kept = f"{len(plumbing)} of {len(notebook.code)} code cells are tagged `plumbing`"
        complaints.append(f"{kept}: {share:.0%} carry the idea, less than {IDEAS:.0%}.")
    return complaints


def only_imports(source: str) -> bool:
    """Return whether a cell imports and does nothing else."""
    statements = ast.parse(TransformerManager().transform_cell(source)).body
    return bool(statements) and all(isinstance(s, ast.Import | ast.ImportFrom) for s in statements)


def machine_traces(notebook: StoredNotebook) -> list[str]:
    """Nothing names a folder of one machine, and no output its build of PyTorch."""
    complaints = []
    for index, text in notebook.texts():
        complaints += [f"Cell {index} holds {trace!r}." for trace in OWN_PATH.findall(text)]
    for index, cell in notebook.code:
        if any("+cpu" in output_text(output) for output in cell.outputs):
            complaints.append(f"Cell {index} prints '+cpu'.")
    return list(dict.fromkeys(complaints))


def exercises(notebook: StoredNotebook) -> list[str]:
    """There are exercises with a checker, stored as a learner finds them: not attempted."""
    open_ones = [
        index
        for index, cell in notebook.code
        if ".check(" in cell.source
        and any("Not attempted yet" in output_text(output) for output in cell.outputs)
    ]
    if len(open_ones) < EXERCISES:
        return [f"Only {len(open_ones)} cells check an exercise and print 'Not attempted yet'."]
    return []


def wording(notebook: StoredNotebook) -> list[str]:
    """The prose is plain, with no exclamations and no "Let's", and spells names as they are."""
    complaints = []
    for index, cell in notebook.markdown:
        text = prose(cell.source)
        if EXCLAMATION.search(text):
            complaints.append(f"Cell {index} has an exclamation mark.")
        for right, written in NAMES.items():
            for found in re.findall(written, URL.sub("", text)):
                if found != right:
                    complaints.append(f"Cell {index} writes {found!r}, not {right!r}.")
        if re.search(r"\blet[’']s\b", text, re.IGNORECASE):
            complaints.append(f'Cell {index} says "Let\'s".')
    return complaints
