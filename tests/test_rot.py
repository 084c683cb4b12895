"""`make rot` says what a newer version breaks."""

import os
from pathlib import Path

import pytest

from tools import rot

NEEDS = "import planted\n\ndef test_old_name():\n    assert planted.old() == 1\n"


@pytest.mark.parametrize(
    ("newest", "broken"),
    [("def old():\n    return 1\n", []), ("def new():\n    return 1\n", ["test_old_name"])],
)
def test_a_name_that_the_newest_version_lacks_is_found(newest, broken, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "planted.py").write_text(newest)
    test = tmp_path / "test_user.py"
    test.write_text(NEEDS)
    part = ("-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-c", "/dev/null", str(test))
    found = rot.broken_by(rot.sys.executable, layer, [part])
    assert [line.split("::")[1] for line in found] == broken


def test_what_cannot_be_installed_is_a_finding(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rot, "run", lambda *_: ("ERROR: No matching distribution", 1))
    finding = rot.try_package("numpy", tmp_path)
    assert finding.broke == ("cannot be installed: ERROR: No matching distribution",)


@pytest.mark.skipif(os.name == "nt", reason="a script is no command there")
def test_a_python_that_is_only_announced_is_passed_over(monkeypatch, tmp_path: Path) -> None:
    for name, status in (("python3.99", 127), ("python3.98", 0), ("python3.97", 0)):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\necho {name}: command not found\nexit {status}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(rot, "NEWER_PYTHONS", [f"python3.{minor}" for minor in (99, 98, 97)])
    assert rot.newest_python() == "python3.98"
    monkeypatch.setattr(rot, "NEWER_PYTHONS", ["python3.99", "python3.96"])
    assert rot.newest_python() is None


def test_the_command_fails_when_something_broke(monkeypatch, capsys) -> None:
    broke = {"numpy": ("tests/test_gpt.py::test_shape",), "jupyterlab": ()}
    monkeypatch.setattr(
        rot, "try_package", lambda name, _: rot.Finding(name, "1.0", "2.0", broke[name])
    )
    assert rot.main(["jupyterlab"]) == 0
    assert rot.main(["jupyterlab", "numpy"]) == 1
    assert "tests/test_gpt.py::test_shape" in capsys.readouterr().out


def test_the_quick_part_exists() -> None:
    assert all((rot.ROOT / path).exists() for path in (*rot.UNIT, rot.NOTEBOOK[-1]))
