"""Where the course writes, and how much its notebooks compute.

Runs go into one folder, downloaded data into another, nothing elsewhere. One switch decides how
much the notebooks compute: smoke, laptop or gpu. A command that is printed can be pasted where the
reader is.

Lesson: notebook 00.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, TypeVar, cast

import platformdirs

from bhushgpt.errors import UserError, nearest


def checkout() -> Path | None:
    """Return the folder of the course's checkout, None where there is none.

    A notebook may be started from any folder; with an editable installation the checkout is found
    from the package's own place.
    """
    for folder in (Path(__file__).resolve().parent.parent, Path.cwd()):
        if (folder / "curriculum.toml").is_file():
            return folder
    return None


def project_root() -> Path:
    """Return the folder with the course's own files: curriculum.toml, benchmarks and datasets.

    It is the checkout, or the copy of these files that an installed package carries.
    """
    return checkout() or Path(__file__).resolve().with_name("course")


def runs_folder(*parts: str) -> Path:
    """Return the folder for everything that a run writes, made if need be.

    Args:
        parts: Names of folders below `runs/`.

    Returns:
        `<parts>` below `runs` of the checkout, or of the current folder where there is none; or
        below the folder that the environment variable BHUSHGPT_RUNS names.

    Raises:
        UserError: If the folder cannot be made.
    """
    folder = named_folder("BHUSHGPT_RUNS") or (checkout() or Path.cwd()) / "runs"
    return _made(folder.joinpath(*parts), "BHUSHGPT_RUNS")


def cache_folder() -> Path:
    """Return the folder for downloaded texts, made if need be.

    Returns:
        The folder that BHUSHGPT_CACHE names; else `datasets/cache` of the checkout; else, for an
        installed package, the user's own cache folder.

    Raises:
        UserError: If the folder cannot be made.
    """
    if named := named_folder("BHUSHGPT_CACHE"):
        folder = named
    elif root := checkout():
        folder = root / "datasets" / "cache"
    else:
        folder = Path(platformdirs.user_cache_dir("bhushgpt"))
        if not folder.is_absolute():  # nobody's home is known: it would be a folder named "~"
            folder = Path(tempfile.gettempdir()) / "bhushgpt"
    return _made(folder, "BHUSHGPT_CACHE")


def written_out(path: str | Path, named: str = "") -> Path:
    """Return a path with `~` written out.

    Args:
        path: As somebody wrote it.
        named: Where it was written, such as a variable's name; empty if it was typed.

    Raises:
        UserError: If it begins with `~` and that home folder is not known.

    >>> written_out("books/tales.txt").name
    'tales.txt'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        where = f"{named} is {path}, and" if named else f"{path!s} was given, and"
        raise UserError(f"{where} the home folder is not known. Give the whole path.") from None


def named_folder(variable: str) -> Path | None:
    """Return the folder that an environment variable names, `~` written out; None if it is not set.

    Raises:
        UserError: If it begins with `~` and no home folder is known.
    """
    named = os.environ.get(variable)
    return written_out(named, variable) if named else None


def _made(folder: Path, variable: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made: {error.strerror or error}. "
            f"Set the environment variable {variable} to a folder that you may write to."
        ) from None
    return folder


def in_notebook() -> bool:
    """Return whether this runs in the kernel of a notebook.

    >>> in_notebook()
    False
    """
    interactive = sys.modules.get("IPython")  # a kernel has loaded it already
    return interactive is not None and hasattr(interactive.get_ipython(), "kernel")


def command(*words: str | Path) -> str:
    """Return a command of the package as it can be pasted where the reader is.

    It begins with the Python that is running, as it is reached from the current folder, such as
    `.venv/bin/python`. Words are quoted where a shell needs it.

    >>> command("train", "--out", "my run").endswith("-m bhushgpt train --out 'my run'")
    True
    """
    return python_command("-m", "bhushgpt", *words)


def python_command(*words: str | Path) -> str:
    """Return a command for the Python that is running, as it can be pasted where the reader is.

    >>> python_command("-m", "pip", "install", "pylzma").endswith("-m pip install pylzma")
    True
    """
    return " ".join(map(quoted, [_this_python(), *map(str, words)]))


def quoted(word: str) -> str:
    r"""Return a word of a command as a shell takes it back, whatever is in it.

    What the terminal cannot show, or has no name in UTF-8, is written in octal numbers.

    >>> print(quoted("mine"), quoted("my run"), quoted("one\ntwo"))
    mine 'my run' $'one\012two'
    """
    if os.name == "nt":
        return subprocess.list2cmdline([word])
    try:
        word.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        shows = word.isprintable()
    except UnicodeEncodeError:
        shows = False
    if shows:
        return shlex.quote(word)
    plain = (chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\{b:03o}" for b in _bytes(word))
    return f"$'{''.join(plain)}'"


def _bytes(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


def _this_python() -> str:
    """Return how to start the Python that is running: from here, by name, or by its whole path."""
    me = Path(sys.executable or "python")
    try:
        inside = me.relative_to(Path.cwd())
        return str(inside) if len(inside.parts) > 1 else os.path.join(".", inside)
    except (ValueError, OSError):  # elsewhere; or the current folder is gone
        pass
    for name in ("python", "python3"):
        found = shutil.which(name)
        if found and Path(found).parent == me.parent:  # not resolved: environments are links
            return name
    return str(me)


Scale = Literal["smoke", "laptop", "gpu"]
Value = TypeVar("Value")

SCALES: tuple[Scale, ...] = ("smoke", "laptop", "gpu")
LARGE_CARD = 10 * 2**30  # bytes of a card's memory from which on the scale is gpu


def current_scale() -> Scale:
    """Return the scale that the notebooks run at.

    The environment variable BHUSHGPT_SCALE decides: `smoke` is what the tests run (seconds),
    `laptop` is mostly less than four minutes a notebook on two CPU cores, `gpu` needs CUDA. Without
    the variable it is `gpu` where an NVIDIA card computes that has room for GPT-2's smallest model
    in training, such as a T4, and `laptop` on any other machine.

    Raises:
        UserError: If the variable holds another word.
    """
    named = os.environ.get("BHUSHGPT_SCALE")
    if not named:
        # Here, since the folders are wanted by commands that need no torch.
        from bhushgpt.devices import abilities, best_kind, describe_device

        best = best_kind()
        large = abilities(best).wide and describe_device(best).memory_bytes >= LARGE_CARD
        return "gpu" if large else "laptop"
    if named not in SCALES:
        raise UserError(f"BHUSHGPT_SCALE is {named!r}. {nearest(named, SCALES)}")
    return cast(Scale, named)


def pick(*, smoke: Value, laptop: Value, gpu: Value | None = None) -> Value:
    """Return the value for the current scale; `gpu` left out means the laptop's value.

    >>> pick(smoke="a few steps", laptop="three minutes") in ("a few steps", "three minutes")
    True
    """
    scale = current_scale()
    if scale == "smoke":
        return smoke
    if scale == "gpu" and gpu is not None:
        return gpu
    return laptop


def memory_size(size: float) -> str:
    """Return a size of memory for people: powers of two, as memory is built.

    Disks, files and their rates are told in powers of ten, as disks are sold.

    >>> memory_size(90 * 2**20), memory_size(2**34), memory_size(1)
    ('90 MiB', '16.0 GiB', '1 MiB')
    """
    if size >= 2**30:
        return f"{size / 2**30:,.1f} GiB"
    return f"{max(size / 2**20, 1):,.0f} MiB"
