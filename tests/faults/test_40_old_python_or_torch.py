"""Fault 40: a Python or PyTorch that is too old: one sentence with the minimum, no traceback."""

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from bhushgpt import __main__ as program
from bhushgpt.versions import OLDEST_PYTHON, OLDEST_TORCH, python_trouble, torch_trouble
from tools.curriculum import ROOT
from tools.install import OLDEST, torch_is_kept

PACKAGE = ROOT / "bhushgpt"


@pytest.mark.parametrize("version", [(3, 7, 0), (3, 9, 18), (3, 10, 14), (2, 7, 18)])
def test_an_old_python_is_told_the_minimum_in_one_sentence(version) -> None:
    sentence = python_trouble(version) or ""
    assert sentence.startswith(
        f"BhushGPT needs Python 3.11 or newer, and this is Python {version[0]}."
    )
    assert "https://www.python.org/downloads/" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("2.9.1", True),
        ("2.9.1+cu126", True),
        ("1.13.0", True),
        ("2.10.0", False),
        ("2.13.0+cpu", False),
        ("2.11.0a0+gitab12", False),
        ("3.0.0", False),
    ],
)
def test_an_old_torch_is_told_the_minimum_and_the_command(version, old) -> None:
    sentence = torch_trouble(version)
    assert (sentence is not None) == old
    if sentence:
        assert sentence.startswith("BhushGPT needs PyTorch 2.10 or newer, and this is " + version)
        assert 'pip install "torch>=2.10"' in sentence


def test_the_command_says_it_before_it_loads_anything(monkeypatch, capsys) -> None:
    monkeypatch.setattr(program, "python_trouble", lambda: python_trouble((3, 9, 1)))
    assert program.start() == 1
    assert capsys.readouterr().err.startswith("BhushGPT needs Python 3.11")
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["bhushgpt", "info"])
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.0")
    assert program.start() == 1
    assert capsys.readouterr().err.startswith("BhushGPT needs PyTorch 2.10")

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert program.start() == 1
    assert "PyTorch is not installed for this Python" in capsys.readouterr().err


def test_a_real_start_with_an_old_torch_ends_in_one_line(tmp_path) -> None:
    # A torch whose description says 2.9 lies first on the path; it is never imported.
    (tmp_path / "torch-2.9.0.dist-info").mkdir()
    (tmp_path / "torch-2.9.0.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.9.0\n")
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    done = subprocess.run(
        [sys.executable, "-m", "bhushgpt", "info"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("BhushGPT needs PyTorch 2.10 or newer, and this is 2.9.0")


@pytest.mark.parametrize("name", ["__init__", "__main__", "versions"])
def test_an_old_python_can_read_the_files_up_to_the_sentence(name) -> None:
    source = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    # Annotations such as `str | None` are left unread only with this line.
    annotated = any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))
    assert not annotated or "from __future__ import annotations" in source


def test_the_floors_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=" + ".".join(map(str, OLDEST_PYTHON))
    (torch,) = [line for line in project["dependencies"] if line.startswith("torch>")]
    assert torch.startswith("torch>=" + ".".join(map(str, OLDEST_TORCH)))
    assert OLDEST == OLDEST_PYTHON
    assert torch_is_kept(".".join(map(str, OLDEST_TORCH))) and not torch_is_kept("2.9.1")
    assert Path(program.__file__ or "").name == "__main__.py"
