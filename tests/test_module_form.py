"""The library is quiet: only what talks to people prints."""

import ast
from pathlib import Path

import pytest

from tools.curriculum import ROOT, modules_of

# Rooms that talk to people, and two functions that are there to show something.
SPEAKING = ("exercises", "commands", "runs", "bench", "figures", "shapes", "__main__")
MODULES = {
    name: path
    for name, path in modules_of(ROOT / "bhushgpt").items()
    if name.split(".")[0] not in SPEAKING
}


def prints(path: Path) -> list[str]:
    """Return where a module prints."""
    return [
        f"{path.name}, line {node.lineno} prints"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "print"
    ]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_quiet(name: str) -> None:
    assert prints(MODULES[name]) == []


def test_a_loud_module_is_noticed(tmp_path: Path) -> None:
    module = tmp_path / "loud.py"
    module.write_text("def f():\n    print(1)\n")
    assert prints(module) == ["loud.py, line 2 prints"]
