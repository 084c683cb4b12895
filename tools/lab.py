"""Open JupyterLab on notebooks of the learner's own: copies, in which `git pull` changes nothing.

    python tools/lab.py                opens my_notebooks/00_start_here.ipynb
    python tools/lab.py --allow-root   other words go to JupyterLab

`my_notebooks` gets a copy of each notebook. A copy that was not touched follows the course's when
that changes; a copy that was worked in stays as it is, and a sentence says so.
"""

import json
import os
import platform
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST = "00_start_here.ipynb"
COPIED = ".copied.json"
# What JupyterLab writes into a notebook when its kernel starts: with it a notebook that was only
# opened counts as saved.
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": platform.python_version(),
}


def bring(course: Path, own: Path) -> list[str]:
    """Bring the learner's folder up to date and return the notebooks that were left as they are.

    Args:
        course: The folder with the course's notebooks.
        own: The learner's folder, made if need be.

    Returns:
        Names of notebooks that have changed in the course and were worked in by the learner.
    """
    own.mkdir(exist_ok=True)
    noted = own / COPIED
    copied: dict[str, str] = json.loads(noted.read_text("utf-8")) if noted.is_file() else {}
    kept = []
    for path in sorted(course.glob("*.ipynb")):
        mine = own / path.name
        text = own_copy(path.read_text(encoding="utf-8"))
        now = sha256(text.encode()).hexdigest()
        there = sha256(mine.read_bytes()).hexdigest() if mine.is_file() else ""
        if there and there not in (now, copied.get(path.name)):
            if copied.get(path.name) != now:
                kept.append(path.name)
            continue
        if there != now:
            mine.write_text(text, encoding="utf-8", newline="\n")
        copied[path.name] = now
    noted.write_text(json.dumps(copied, indent=1) + "\n", encoding="utf-8")
    return kept


def own_copy(text: str) -> str:
    """Return a notebook's file as JupyterLab would save it with this Python."""
    notebook = json.loads(text)
    notebook["metadata"]["language_info"] = LANGUAGE
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook["metadata"]["kernelspec"] = kernel
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Bring the copies up to date and start JupyterLab; return its exit code."""
    own = ROOT / "my_notebooks"
    for name in bring(ROOT / "notebooks", own):
        print(
            f"{name} has changed in the course. Yours is kept as it is; the new one is in "
            "notebooks, and comes here if you rename yours."
        )
    # As in bhushgpt/__init__.py, which a kernel may import after torch.
    environment = {"GOMP_SPINCOUNT": "3000", **os.environ}
    # The first names the page that Jupyter opens, the other the one whose address it prints.
    command = [sys.executable, "-m", "jupyter", "lab", str(own / FIRST)]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST}", *arguments]
    try:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
