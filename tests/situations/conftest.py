"""A small run that the situations begin with."""

import shutil

import pytest

from bhushgpt.commands.line import main

SENTENCE = "The café sat on the mat and the old dog sat on the log.\n"


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """A text file with accents."""
    file = tmp_path_factory.mktemp("book") / "book.txt"
    file.write_text(SENTENCE * 60, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def trained(book, tmp_path_factory):
    """A finished run on it; copy it to change it."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    flags = ["--preset", "bigram", "--steps", "4", "--save-every", "2", "--precision", "float32"]
    assert main(["train", "--corpus", str(book), "--out", str(out), "--device", "cpu", *flags]) == 0
    return out


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def said(capsys):
    """A function that runs a command and returns its exit status and what it printed."""

    def command(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main(list(map(str, words)))
        found = capsys.readouterr()
        return code, found.out + found.err

    return command
