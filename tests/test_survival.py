"""What a bug report asks for works in every broken place; other commands say a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.curriculum import ROOT

WINDOWS_SAYS = "[WinError 126] The specified module could not be found. Error loading c10.dll"
WITHOUT_NAME = ("HOME", "USER", "LOGNAME", "USERPROFILE")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return an empty folder for the program to be started in, with a cache of its own."""
    (tmp_path / "here").mkdir()
    return tmp_path


def run(place: Path, *words: str, first: str = "", **environment: str | None):
    """Run a command in a process of its own; `first` is run before it as a part of Python's start.

    Values that are None are left out of the environment.
    """
    (place / "patch").mkdir(exist_ok=True)
    (place / "patch" / "sitecustomize.py").write_text(first)
    given = {
        "PYTHONPATH": os.pathsep.join(map(str, (place / "fake", place / "patch", ROOT))),
        "BHUSHGPT_RUNS": str(place / "runs"),
        "BHUSHGPT_CACHE": str(place / "cache"),
        "BHUSHGPT_DATA": None,
        "PIP_NO_INDEX": "1",
    }
    settings = {**os.environ, **given, **environment}
    done = subprocess.run(
        [sys.executable, "-m", "bhushgpt", *words],
        cwd=place / "here",
        env={name: value for name, value in settings.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "this check itself failed" not in done.stdout, done.stdout
    return done


def findings(output: str) -> dict[str, str]:
    """Return part -> mark of what a doctor printed."""
    lines = [line.split() for line in output.splitlines() if line[:1].strip()]
    return {words[1]: words[0] for words in lines[:-1]}


# Each way of lacking torch: what the program finds for it, what is run first, what is said.
NO_METADATA = """
from importlib import metadata
version = metadata.version
def without(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = without
"""
LACKING = {
    "raises": (f"raise OSError({WINDOWS_SAYS!r})", "", "cannot be loaded (OSError: [WinError 126]"),
    "libgomp": ("raise ImportError('libgomp.so.1: no such file')", "", "package libgomp1"),
    "not installed": ("raise ImportError('never tried')", NO_METADATA, "PyTorch is not installed"),
}


@pytest.fixture(params=LACKING.values(), ids=list(LACKING))
def lacking(request, place):
    """Return (what is run first, what is said) in a place where torch cannot be used."""
    torch, first, said = request.param
    (place / "fake" / "torch").mkdir(parents=True)
    (place / "fake" / "torch" / "__init__.py").write_text(torch)
    return first, said


def test_without_torch_the_doctor_looks_at_the_rest_and_says_what_is_wrong(place, lacking):
    first, said = lacking
    done = run(place, "doctor", first=first)
    found = findings(done.stdout)
    assert done.returncode == 1 and done.stderr == ""
    assert said in " ".join(done.stdout.split())
    assert found["torch"] == "broken" and found["skipped"] == "look"
    assert {"python", "jupyter", "disk", "cache", "book", "settings"} <= found.keys()
    assert not found.keys() & {"processor", "card", "compiler"}


@pytest.mark.parametrize("words", [("--help",), ("prepare", "--help"), ("corpora",)])
def test_what_needs_no_torch_does_without(place, lacking, words):
    done = run(place, *words, first=lacking[0])
    assert done.returncode == 0 and done.stdout and done.stderr == ""


@pytest.mark.parametrize("words", [("info",), ("train", "--preset", "bigram"), ("bench", "--help")])
def test_what_needs_torch_says_so_in_one_sentence(place, lacking, words):
    first, said = lacking
    done = run(place, *words, first=first)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["token", "random", "queue", "regex", "numpy", "string"])
def test_a_file_of_ones_own_with_a_librarys_name_hides_nothing(place, name):
    (place / "here" / f"{name}.py").write_text("raise SystemExit('my lesson')")
    done = run(place, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    assert "-m bhushgpt COMMAND" in done.stdout


def test_the_doctor_names_a_file_that_hides_a_library_from_notebooks(place):
    (place / "here" / "token.py").write_text("print('my lesson')")
    (place / "here" / "lesson.py").write_text("print('my lesson')")
    (place / "fake" / "torch").mkdir(parents=True)  # to be quick
    (place / "fake" / "torch" / "__init__.py").write_text("raise ImportError")
    out = run(place, "doctor").stdout
    assert findings(out)["names"] == "look"
    assert "token.py" in out and "Rename it" in out and "lesson.py" not in out


def test_without_ssl_the_way_by_hand_is_shown_and_the_doctor_knows(place):
    first = "import sys; sys.modules['ssl'] = sys.modules['_ssl'] = None"
    done = run(place, "corpora", "--fetch", "sherlock", first=first, PIP_NO_INDEX=None)
    assert done.returncode == 1
    assert "built without SSL" in done.stderr and "By hand: put " in done.stderr
    (place / "fake" / "torch").mkdir(parents=True)
    (place / "fake" / "torch" / "__init__.py").write_text("raise ImportError")
    assert "built without SSL" in " ".join(run(place, "doctor", first=first).stdout.split())


@pytest.mark.parametrize("words", [("--help",), ("info",)])
def test_without_ssl_what_fetches_nothing_works(place, words):
    first = "import sys; sys.modules['ssl'] = sys.modules['_ssl'] = None"
    done = run(place, *words, first=first)
    assert done.returncode == 0 and done.stdout and done.stderr == "", done.stderr


def test_a_user_without_name_or_home_is_served_like_others(place):
    # As in a container that was started with a foreign user's number.
    first = (
        "import pwd\ndef nobody(user):\n    raise KeyError(user)\npwd.getpwuid = nobody"
        if os.name == "posix"
        else ""
    )
    nobody = dict.fromkeys(WITHOUT_NAME)
    for words in (("--help",), ("info",), ("corpora",)):
        assert run(place, *words, first=first, **nobody).returncode == 0
    (place / "fake" / "torch").mkdir(parents=True)  # to be quick
    (place / "fake" / "torch" / "__init__.py").write_text("raise ImportError")
    done = run(place, "doctor", first=first, **nobody)
    broken = [part for part, mark in findings(done.stdout).items() if mark == "broken"]
    assert (broken, done.stderr) == (["torch"], ""), done.stdout
    done = run(place, "corpora", "--fetch", "sherlock", **nobody, first=first, BHUSHGPT_DATA="~/d")
    assert done.returncode == 1 and "the home folder is not known" in done.stderr
    assert not list((place / "here").iterdir())  # above all no folder called "~"


# Nothing can be written, wherever it is: a container with a read-only root and no room in /tmp.
READ_ONLY = """
import builtins, errno, io, os
def refuse(path, *_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))
real_open, real_os_open = builtins.open, os.open
def opened(file, mode="r", *more, **others):
    if isinstance(file, int) or not set(mode) & set("wax+") or file == os.devnull:
        return real_open(file, mode, *more, **others)
    refuse(file)
def os_opened(path, flags, *more, **others):
    if path == os.devnull or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return real_os_open(path, flags, *more, **others)
    refuse(path)
builtins.open = io.open = opened
os.open = os_opened
os.mkdir = os.rename = os.replace = os.unlink = os.remove = os.rmdir = refuse
"""


@pytest.mark.parametrize("words", [("--help",), ("prepare", "--help"), ("corpora",), ("info",)])
def test_where_nothing_can_be_written_what_only_reads_works(place, words):
    done = run(place, *words, first=READ_ONLY)
    assert done.returncode == 0 and done.stdout and done.stderr == "", done.stderr


def test_where_nothing_can_be_written_the_doctor_says_so(place):
    (place / "fake" / "torch").mkdir(parents=True)  # to be quick
    (place / "fake" / "torch" / "__init__.py").write_text("raise ImportError")
    done = run(place, "doctor", first=READ_ONLY)
    found, said = findings(done.stdout), " ".join(done.stdout.split())
    assert done.returncode == 1 and done.stderr == ""
    assert found["disk"] == found["cache"] == "broken"
    assert "Read-only file system. Set the environment variable BHUSHGPT_RUNS" in said
    assert {"python", "torch", "jupyter", "book", "settings", "names"} <= found.keys()


def test_where_nothing_can_be_written_training_ends_in_a_sentence(place):
    (place / "here" / "a.txt").write_text("the cat sat on the mat\n" * 50)
    done = run(place, "train", "--preset", "bigram", "--corpus", "a.txt", first=READ_ONLY)
    assert done.returncode == 1 and "Read-only file system" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_library_that_is_missing_leads_to_the_courses_own_python(place):
    first = "import sys; sys.modules['tyro'] = sys.modules['psutil'] = None"
    done = run(place, "prepare", "--help", first=first)
    assert done.returncode == 1 and done.stdout == ""
    assert "is not installed for this Python. " in done.stderr and done.stderr.count("\n") == 1


def test_a_data_folder_that_is_not_there_is_said(place):
    named = str(place / "my dta")
    done = run(place, "corpora", "--fetch", "shakespeare", BHUSHGPT_DATA=named)
    assert done.returncode == 1
    assert f"BHUSHGPT_DATA names {named}, and there is no such folder" in done.stderr


# Disks that lack something that most have, as shares of virtual machines and networks do.
NO_FLUSH = """
import errno, os, stat
real = os.fsync
def fsync(handle):
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return real(handle)
os.fsync = fsync
def refuse(*words, **more):
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
os.chmod = os.symlink = os.link = refuse
import fcntl
fcntl.flock = fcntl.lockf = refuse
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has its own ways.")
def test_a_disk_without_flush_modes_links_and_locks_works_with_a_note_for_each(place):
    (place / "here" / "a.txt").write_text("the cat sat on the mat\n" * 50)
    words = ("train", "--preset", "bigram", "--corpus", "a.txt", "--steps", "2", "--out", "run")
    done = run(place, *words, first=NO_FLUSH)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot flush a folder") == 1
    assert done.stderr.count("knows no locks") == 1
    assert ".py:" not in done.stderr  # no place in a library
    done = run(place, "complete", "--run", "run", "--prompt", "the", "--tokens", "2")
    assert done.returncode == 0 and done.stdout.startswith("the")
