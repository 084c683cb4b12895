"""The package stays readable: short files, short functions, and nothing is printed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.curriculum import ROOT, modules_of, read_curriculum

FILE_LINES = 200
FUNCTION_LINES = 40  # the docstring not counted
# Exercises hold a message for every mistake, so they are longer; printing is what they are for.
LESSONS = {
    name: path
    for name, path in modules_of(ROOT / "bhushgpt").items()
    if not name.startswith("exercises.")
}
# The command line talks to people; `show` and `shapes` are there to show something.
COMMAND_LINE = {
    name
    for lesson in read_curriculum()
    for name in lesson.finishes
    if lesson.name == "16_command_line"
}
SPEAKING = {"figures", "live_shapes", "__main__"} | COMMAND_LINE


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield (name, lines without the docstring) of all functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            words = ast.get_docstring(node, clean=False)
            documented = words.count("\n") + 1 if words else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - documented


def complaints(path: Path, *, may_print: bool = False) -> list[str]:
    """Return what of a module is too long, and where it prints."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines = source.count("\n")
    found = [f"{path.name} has {lines} lines"] if lines > FILE_LINES else []
    found += [
        f"{path.name}: {name} has {length} lines"
        for name, length in functions(tree)
        if length > FUNCTION_LINES
    ]
    found += [
        f"{path.name}, line {node.lineno} prints"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "print" and not may_print
    ]
    return found


@pytest.mark.parametrize("name", LESSONS)
def test_a_module_is_short_and_quiet(name: str) -> None:
    assert complaints(LESSONS[name], may_print=name in SPEAKING) == []


def test_what_is_too_long_or_loud_is_noticed(tmp_path: Path) -> None:
    module = tmp_path / "long.py"
    body = "    x = 1\n" * 40
    module.write_text(f'def f():\n    """Many\n\n    words."""\n{body}print(1)\n' + "\n" * 160)
    assert complaints(module) == [
        "long.py has 205 lines",
        "long.py: f has 41 lines",
        "long.py, line 45 prints",
    ]
    module.write_text(f"def f():\n{body[10:]}")
    assert complaints(module) == []
