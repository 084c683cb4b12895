"""Run the course's notebooks in place and store what they print, so that it can be compared.

    python tools/notebooks.py                     every notebook
    python tools/notebooks.py 04_bigram           one of them, by name or by path
    python tools/notebooks.py --check 04_bigram   run into memory, list the cells that changed

What is stored is made independent of the moment and the machine (`normalised`): a second run
changes nothing except in cells tagged `nbval-ignore-output`, which hold measured things. The
environment variable BHUSHGPT_SCALE decides how much is computed, as it does for a learner.
A notebook that fails is left as it was.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from tools.stored_form import ROOT, clean_text, differences, normalised, store

FOLDER = ROOT / "notebooks"
CELL_TIMEOUT = 3600  # seconds; a cell that takes longer hangs


class RunFailed(Exception):
    """A cell failed; the message names notebook, cell and error."""


def kernel_environment() -> None:
    """Make every kernel started from here the one of this environment, with inline pictures."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as `make lab` does; see bhushgpt/__init__


def complaint(path: Path, cell: NotebookNode, index: int, error: str) -> str:
    """Return the sentence that says where a run failed."""
    code = "\n".join("    | " + line for line in cell.source.split("\n"))
    return f"{path.stem}, cell {index} ({cell.id}): {error}\n{code}"


def executed(path: Path, *, cell_timeout: int = CELL_TIMEOUT, watch: bool = False) -> NotebookNode:
    """Run a notebook from its own folder and return it with its outputs, normalised.

    Args:
        path: The file; it is read only.
        cell_timeout: The longest a cell may take, in seconds.
        watch: Show the number of the running cell on the terminal.

    Raises:
        RunFailed: If a cell fails, hangs or kills the kernel.
    """
    notebook = nbformat.read(path, as_version=4)
    at = {"index": 0}

    def started(cell: NotebookNode, cell_index: int) -> None:
        at["index"] = cell_index
        if watch:
            print(f"\r{path.stem}: cell {cell_index + 1} of {len(notebook.cells)}", end="")

    client = NotebookClient(
        notebook,
        timeout=cell_timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],
        on_cell_execute=started,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        said = clean_text(f"{error.ename}: {error.evalue}")
    except CellTimeoutError:
        said = f"it took longer than {cell_timeout} seconds"
    except DeadKernelError:
        said = "the kernel died, which mostly means that memory ran out"
    else:
        return normalised(notebook)
    finally:
        if watch:
            print("\r" + " " * 60 + "\r", end="", flush=True)
    raise RunFailed(complaint(path, notebook.cells[at["index"]], at["index"], said))


def chosen(names: list[str]) -> list[Path]:
    """Return the files that are meant by names or paths; all notebooks for no names.

    Raises:
        RunFailed: If there is no such notebook.
    """
    if not names:
        return sorted(FOLDER.glob("*.ipynb"))
    paths = []
    for name in names:
        options = [Path(name), FOLDER / f"{Path(name).stem}.ipynb"]
        found = [path for path in options if path.suffix == ".ipynb" and path.is_file()]
        found = found or sorted(FOLDER.glob(f"{name}_*.ipynb"))
        if not found:
            known = ", ".join(path.stem for path in sorted(FOLDER.glob("*.ipynb"))) or "none yet"
            raise RunFailed(f"There is no notebook {name!r}. There are: {known}.")
        paths.append(found[0].resolve())
    return paths


def work_on(path: Path, *, check: bool, watch: bool) -> bool:
    """Run one notebook, store or compare it, print a line, and return whether all is well."""
    start = time.perf_counter()
    fresh = executed(path, watch=watch)
    seconds = time.perf_counter() - start
    if not check:
        word = "stored" if store(fresh, path) else "unchanged"
        print(f"{path.stem:<28} {seconds:7.1f} s  {word}", flush=True)
        return True
    changed = list(differences(nbformat.read(path, as_version=4), fresh))
    print(f"{path.stem:<28} {seconds:7.1f} s  {'CHANGED' if changed else 'the same'}", flush=True)
    for line in changed:
        print(f"    {line}", flush=True)
    return not changed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 if every notebook ran (and is the same)."""
    parser = argparse.ArgumentParser(
        prog="python tools/notebooks.py",
        description="Run notebooks in place and store what they print.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="04_bigram, 04 or a path")
    parser.add_argument("--check", action="store_true", help="store nothing, list what changed")
    options = parser.parse_args(arguments)
    kernel_environment()
    scale = os.environ.get("BHUSHGPT_SCALE", "laptop, or gpu with CUDA")
    failed = []
    try:
        paths = chosen(options.names)
        print(f"Running {len(paths)} notebook(s) at scale: {scale}", flush=True)
        for path in paths:
            try:
                if not work_on(path, check=options.check, watch=sys.stdout.isatty()):
                    failed.append(path.stem)
            except RunFailed as error:
                print(error, flush=True)
                failed.append(path.stem)
    except RunFailed as error:
        print(error)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The notebook that was running is as it was before.")
        return 130
    if failed:
        print(f"Not well: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
