r"""Set the course up in `.venv`: the libraries, the package, the kernel and the default book.

    python3 tools/install.py            (Windows: py tools\install.py)

Needs Python 3.11 or newer and a package index, nothing that is not in the standard library, and
writes only below this folder. Where nothing has changed since the last time it is done at once.
A PyTorch that is already in `.venv` and new enough is kept, so a build for CUDA can be put there
first.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
if sys.version_info < OLDEST:  # an older one can read this file this far
    sys.exit(
        "BhushGPT needs Python 3.11 or newer, and this is Python {}.{}. Install one from "
        "https://www.python.org/downloads/ or your system's packages, then name it: "
        "make demo PYTHON=python3.12 (Windows: py -3.12 tools\\install.py).".format(
            *sys.version_info[:2]
        )
    )

ROOT = Path(__file__).resolve().parent.parent
TORCH_RANGE = ((2, 10), (2, 16))  # from, below: as in pyproject.toml
INPUTS = ("requirements.txt", "pyproject.toml", "tools/install.py")

GET_BOOK = """
import sys
from bhushgpt.bpe import gpt2_merges
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
try:
    load_text("sherlock")
    gpt2_merges()
except UserError as error:
    sys.exit(str(error))
"""

COMPILER = {
    "linux": "on Debian or Ubuntu: sudo apt install build-essential python3-dev",
    "darwin": "xcode-select --install",
    "win32": "Build Tools for Visual Studio, with C++",
}

NO_INDEX = re.compile(
    r"NewConnectionError|Temporary failure in name|Name or service not known|getaddrinfo failed"
    r"|Network is unreachable|Connection refused|ConnectTimeout|ReadTimeout|ProxyError"
    r"|Max retries exceeded|CERTIFICATE_VERIFY_FAILED|No route to host|NameResolutionError"
)


class SetupFailed(Exception):
    """The set-up cannot go on; the message says what is missing and how to get it."""


class PipFailed(Exception):
    """Pip gave up; the message is all that it printed."""


# ------------------------------------------------------------------------ what is there already


def environment_python(environment: Path) -> Path:
    """Return where a virtual environment keeps its Python."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(root: Path) -> str:
    """Return a hash of all that decides what is installed, and of the folder it is installed for.

    The folder counts, because the package is installed as a link to it: a copied or moved checkout
    is set up anew.
    """
    digest = hashlib.sha256(str(root).encode())
    for name in INPUTS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_complete(root: Path) -> bool:
    """Return whether the last set-up finished and nothing it depends on has changed since."""
    stamp = root / ".venv" / ".installed"
    try:
        noted = stamp.read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return noted == fingerprint(root) and environment_python(root / ".venv").exists()


def torch_is_kept(version: str) -> bool:
    """Return whether an installed PyTorch of this version serves the course.

    >>> torch_is_kept("2.11.0+cu130"), torch_is_kept("2.9.1"), torch_is_kept("")
    (True, False, False)
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        return False
    lowest, below = TORCH_RANGE
    return lowest <= (int(numbers[1]), int(numbers[2])) < below


def installed_torch(python: Path) -> str:
    """Return the version of the PyTorch that can be imported there, or an empty text."""
    code = "import torch; print(torch.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


# ------------------------------------------------------------------------ making what is missing


def make_environment(environment: Path) -> Path:
    """Make the virtual environment unless it is there and works, and return its Python.

    Raises:
        SetupFailed: If this Python cannot make one.
    """
    python = environment_python(environment)
    if python.exists() and runs(python, "import pip"):
        if not runs(python, f"import sys; assert sys.version_info >= {OLDEST}"):
            raise SetupFailed(
                f"The environment {environment.name} holds a Python older than 3.11. Delete that "
                "folder and run this again."
            )
        return python
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        version = ".".join(map(str, sys.version_info[:2]))
        raise SetupFailed(
            f"This Python {version} comes without the modules that make an environment. Install "
            f"them (on Debian or Ubuntu: sudo apt install python{version}-venv) and run this again."
        )
    print(f"Making the environment {environment.name} with Python {sys.version.split()[0]}.")
    command = [sys.executable, "-m", "venv", "--clear", str(environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise SetupFailed(
            f"The environment {environment.name} could not be made ({said[0]}). Check that this "
            "folder can be written to and that the disk has room, and run this again."
        )
    return python


def runs(python: Path, code: str) -> bool:
    """Return whether a line of code runs in another Python."""
    try:
        return (
            subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def pip_install(python: Path, arguments: list[str]) -> None:
    """Run `pip install` in the environment, showing one changing line on a terminal.

    Raises:
        PipFailed: If it gives up. All it said is also in `.venv/install.log`.
    """
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    lines = []
    process = subprocess.Popen(
        [*command, "--progress-bar", "off", *arguments],
        cwd=ROOT,
        env={**os.environ, "PIP_USER": "0"},  # `user = true` in a pip.conf breaks environments
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    with process, (python.parent.parent / "install.log").open("a", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            lines.append(line)
            show_step(line.strip())
    show_step("")
    if process.returncode != 0:
        raise PipFailed("".join(lines))


def show_step(line: str) -> None:
    """Show on a terminal what pip is doing; an empty line takes it away again."""
    if not sys.stdout.isatty():
        return
    width = shutil.get_terminal_size().columns - 1
    if line == "":
        print("\r" + " " * width + "\r", end="", flush=True)
    elif line.startswith(("Collecting", "Downloading", "Building", "Installing")):
        print("\r" + line[: min(width, 76)].ljust(width), end="", flush=True)


def why(said: str) -> str:
    """Return, in a sentence or two, why pip gave up and what to do."""
    missing = re.search(r"No matching distribution found for (\S+)", said)
    if NO_INDEX.search(said):
        return (
            "pip reached no package index. Connect this machine to the network, or tell pip which "
            "index your network offers (pip config set global.index-url ADDRESS), and run this "
            "again."
        )
    if "No space left on device" in said or "Errno 28" in said:
        return "The disk is full. Make room (about 2 GB; 8 GB for a CUDA build) and run this again."
    if missing:
        version = ".".join(map(str, sys.version_info[:2]))
        return (
            f"The package index has no {missing[1]} for Python {version} on this system. Try "
            "Python 3.11 or 3.12: delete .venv and run this again with it."
        )
    errors = [line for line in said.splitlines() if line.lower().startswith("error")]
    return f"pip said: {errors[-1] if errors else 'nothing'}"


def install_libraries(python: Path) -> None:
    """Install requirements.txt, which ends with the package itself; keep a PyTorch that serves.

    Raises:
        SetupFailed: If pip gives up.
    """
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    torch = installed_torch(python)
    if torch_is_kept(torch):
        print(f"Keeping the PyTorch {torch} that is there.")
        wanted = re.sub(r"^torch==.*$", "", wanted, flags=re.MULTILINE)
    chosen = python.parent.parent / "requirements.txt"
    chosen.write_text(wanted, encoding="utf-8")
    print("Installing the libraries (PyTorch is the largest; this takes one to several minutes).")
    try:
        pip_install(python, ["--requirement", str(chosen)])
    except PipFailed as error:
        raise SetupFailed(
            f"The libraries could not be installed. {why(str(error))} "
            "All that pip said is in .venv/install.log."
        ) from error


def install_pylzma(python: Path) -> str:
    """Try to install pylzma, which pip has to compile, and return a sentence if that failed."""
    import tomllib  # from Python 3.11 on, so not at the head of this file

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pylzma,) = project["project"]["optional-dependencies"]["sevenzip"]
    try:
        pip_install(python, [pylzma])
    except PipFailed as error:
        again = f"{python.relative_to(ROOT)} -m pip install {pylzma}"
        compiler = COMPILER.get(sys.platform, "from your system's packages")
        if NO_INDEX.search(str(error)) or "No matching distribution" in str(error):
            return f"Everything is installed except pylzma, which could not be had; later: {again}"
        return (
            "Everything is installed except pylzma, which needs a C compiler and is used only for "
            f".7z archives and one comparison: get a compiler ({compiler}), then run: {again}"
        )
    return ""


def prepare_jupyter(python: Path) -> None:
    """Make sure that the environment has the kernel `python3`, and switch JupyterLab's news off.

    Both are files below `.venv`; nothing is registered for the user or the machine.
    """
    environment = python.parent.parent
    if not (environment / "share/jupyter/kernels/python3/kernel.json").is_file():
        command = [python, "-m", "ipykernel", "install", "--sys-prefix"]
        subprocess.run(command, capture_output=True, check=True)
    page = environment / "etc/jupyter/labconfig/page_config.json"
    if not page.exists():
        page.parent.mkdir(parents=True, exist_ok=True)
        news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        page.write_text(json.dumps(news, indent=2) + "\n", encoding="utf-8")


def get_book(python: Path) -> None:
    """Bring the default book and GPT-2's vocabulary into the cache: no lesson needs more.

    Raises:
        SetupFailed: With the sentence of the package if it could not be had.
    """
    print("Getting the default book and GPT-2's vocabulary.")
    command = [python, "-c", GET_BOOK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip()
        if "Traceback (most recent call last)" in said:
            said = said.splitlines()[-1]
        raise SetupFailed(f"Everything is installed, but a file is missing. {said}")


def set_up() -> None:
    """Go through all steps and leave the stamp that makes the next set-up a matter of a moment.

    Raises:
        SetupFailed: If a step cannot be done.
    """
    start = time.monotonic()
    stamp = ROOT / ".venv" / ".installed"
    stamp.unlink(missing_ok=True)
    python = make_environment(ROOT / ".venv")
    install_libraries(python)
    missing = install_pylzma(python)
    prepare_jupyter(python)
    get_book(python)
    stamp.write_text(fingerprint(ROOT) + "\n", encoding="utf-8")
    print(f"The set-up is complete, after {time.monotonic() - start:.0f} seconds.")
    if missing:
        print(missing)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="tools/install.py", description="Set the course up.")
    parser.add_argument("--again", action="store_true", help="even if nothing has changed")
    options = parser.parse_args(arguments)
    if is_complete(ROOT) and not options.again:
        print("The set-up is complete already (.venv).")
        return 0
    try:
        set_up()
    except SetupFailed as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The set-up stopped: {error}. Mend that and run this again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
