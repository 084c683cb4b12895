"""What tools/notebooks.py stores is the same after every run, and a failure changes nothing."""

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode, v4

from tools import notebooks
from tools.stored_form import (
    ROOT,
    clean_text,
    differences,
    last_of_line,
    machine_paths,
    normalised,
    store,
    written,
)

BAR = "\r 10%|#\r 50%|#####\r100%|##########\n"


def notebook_of(*cells: NotebookNode) -> NotebookNode:
    return v4.new_notebook(cells=list(cells))


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return v4.new_output("stream", name=name, text=text)


def test_of_an_overwritten_line_the_end_stays() -> None:
    assert last_of_line(BAR) == "100%|##########\n"
    assert last_of_line("a\nb\n") == "a\nb\n"


@pytest.mark.parametrize("path, word", machine_paths())
def test_folders_of_this_machine_are_renamed(path: str, word: str) -> None:
    assert clean_text(f"in {path} here") == f"in {word} here"


def test_only_whole_names_of_folders_are_renamed() -> None:
    assert clean_text(f"{ROOT}-copy/x").endswith(f"{ROOT.name}-copy/x")


def test_colours_builds_and_kernel_files_go() -> None:
    assert clean_text("\x1b[0;31mtorch\x1b[0m 2.13.0+cpu") == "torch 2.13.0"
    assert clean_text("/x/ipykernel_77/1234.py:3: Warning") == "<cell>:3: Warning"


def test_pieces_of_one_stream_are_joined() -> None:
    cell = v4.new_code_cell("x", outputs=[stream("a"), stream("b"), stream("c", "stderr")])
    outputs = normalised(notebook_of(cell)).cells[0].outputs
    assert [(each.name, each.text) for each in outputs] == [("stdout", "ab"), ("stderr", "c")]


def test_times_and_widgets_go_and_tags_and_alt_text_stay() -> None:
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "a1"}, "text/plain": "W"}
    picture = v4.new_output("display_data", data={"image/png": "iVBO"}, metadata={"alt": "A."})
    cell = v4.new_code_cell("x", outputs=[v4.new_output("display_data", data=widget), picture])
    cell.metadata = NotebookNode({"tags": ["finished"], "execution": {"started": "now"}})
    notebook = notebook_of(cell)
    notebook.metadata = NotebookNode({"widgets": {}, "language_info": {"version": "3.11.7"}})
    stored = normalised(notebook)
    assert dict(stored.metadata.language_info) == {"name": "python"}
    assert "widgets" not in stored.metadata
    assert dict(stored.cells[0].metadata) == {"tags": ["finished"]}
    assert dict(stored.cells[0].outputs[0].data) == {"text/plain": "W"}
    assert stored.cells[0].outputs[1].metadata == {"alt": "A."}


def test_stable_ids_stay_and_others_get_the_next_number() -> None:
    cells = [v4.new_markdown_cell("x") for _ in range(4)]
    for cell, name in zip(cells, ["cell-003", "f00ba7", "cell-003", "cell-000"], strict=True):
        cell["id"] = name
    # A doubled id is what copying a cell in a text editor makes, so nbformat must not check here.
    notebook = NotebookNode(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)
    ids = [cell.id for cell in normalised(notebook).cells]
    assert ids == ["cell-003", "cell-004", "cell-005", "cell-000"]


def test_normalising_twice_changes_nothing() -> None:
    cell = v4.new_code_cell("x", outputs=[stream(BAR + f"{ROOT}/runs 2.13.0+cpu")])
    once = normalised(notebook_of(cell))
    assert written(normalised(once)) == written(once)


def test_only_cells_that_are_compared_may_not_differ() -> None:
    def with_output(text: str) -> NotebookNode:
        measured = v4.new_code_cell("t", id="cell-000", outputs=[stream(text)])
        measured.metadata = NotebookNode({"tags": ["nbval-ignore-output"]})
        return notebook_of(measured, v4.new_code_cell("c", id="cell-001", outputs=[stream(text)]))

    assert list(differences(with_output("1"), with_output("1"))) == []
    (line,) = differences(with_output("1"), with_output("2"))
    assert line.startswith("cell 1 (cell-001) printed something else: stored '\"1\"', now '\"2\"'")


def test_what_is_stored_does_not_change_when_stored_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    notebook = normalised(notebook_of(v4.new_markdown_cell("# Ä")))
    assert store(notebook, path) is True
    before = path.read_bytes()
    assert before.endswith(b"}\n") and b"\r" not in before and "Ä".encode() in before
    assert store(notebook, path) is False
    assert [each.name for each in tmp_path.iterdir()] == ["a.ipynb"]


@pytest.fixture
def two_notebooks(tmp_path: Path) -> tuple[Path, Path]:
    """Return a notebook that runs and one whose second cell fails."""
    sound, broken = tmp_path / "sound.ipynb", tmp_path / "broken.ipynb"
    code = "import time\nprint('same')", "from pathlib import Path\nprint(Path.cwd().name)"
    nbformat.write(notebook_of(*map(v4.new_code_cell, code)), sound)
    nbformat.write(notebook_of(*map(v4.new_code_cell, ("x = 1", "assert x == 2, 'no'"))), broken)
    return sound, broken


def test_a_second_run_changes_nothing_and_a_failure_leaves_the_file(
    two_notebooks: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sound, broken = two_notebooks
    before = broken.read_bytes()
    assert notebooks.main([str(broken), str(sound)]) == 1
    said = capsys.readouterr().out
    assert "broken, cell 1 (" in said and "AssertionError: no" in said
    assert "Not well: broken" in said
    assert broken.read_bytes() == before
    first = sound.read_bytes()
    stored = nbformat.read(sound, as_version=4)
    assert [cell.execution_count for cell in stored.cells] == [1, 2]
    assert stored.cells[1].outputs[0].text == f"{sound.parent.name}\n"
    assert notebooks.main([str(sound)]) == 0
    assert sound.read_bytes() == first
    assert notebooks.main(["--check", str(sound)]) == 0
    assert "the same" in capsys.readouterr().out


def test_an_unknown_notebook_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert notebooks.main(["99_nothing"]) == 2
    assert capsys.readouterr().out.startswith("There is no notebook '99_nothing'. There are: ")
