"""Run code cells in one kernel, apart from the tests: a kernel's sockets outlive its client.

python run_cells.py FOLDER < cells.json      prints JSON: what each cell printed, or the error
"""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main() -> None:
    """Read the sources of cells as a list, run them in a folder, and print what they printed."""
    cells = [nbformat.v4.new_code_cell(source) for source in json.load(sys.stdin)]
    book = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": sys.argv[1]}}
    client = NotebookClient(book, timeout=120, kernel_name="python3", resources=where)
    error = ""
    try:
        client.execute()
    except CellExecutionError as failed:
        error = f"{failed.ename}: {failed.evalue}"
    said = [
        "".join(out.get("text", "") for out in cell.outputs if out.output_type == "stream")
        for cell in book.cells
    ]
    print(json.dumps({"said": said, "error": error}))


def run_cells(cells: list[str], folder: Path, environment: dict[str, str]) -> tuple[list[str], str]:
    """Run cells in a process of their own; return what each printed, and the error or ""."""
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        input=json.dumps(cells),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found["said"], found["error"]


if __name__ == "__main__":
    main()
