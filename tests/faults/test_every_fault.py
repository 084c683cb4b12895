"""Forty ways in which a run, a file or a machine fails, and one test file for each.

The list stands in README.md beside this file. Each file says its number and what is promised in
its first line, and its tests look at the outcome and at the words that a person gets.
"""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROW = re.compile(r"^\| (\d+) \| (.+) \| `(test_(\d\d)_\w+\.py)` \|$", re.MULTILINE)
# What looks at words: a pattern for an error's message, or a part that must stand in a text.
WORDS = (ast.In, ast.NotIn, ast.Eq)


def files_of(number: int, folder: Path = HERE) -> list[Path]:
    return sorted(folder.glob(f"test_{number:02d}_*.py"))


def complaints(number: int, folder: Path = HERE) -> list[str]:
    """Return what a fault's test lacks."""
    found = files_of(number, folder)
    if len(found) != 1:
        return [f"fault {number} has {len(found)} test files"]
    tree = ast.parse(found[0].read_text(encoding="utf-8"))
    first = (ast.get_docstring(tree) or "").partition("\n")[0]
    wrong = []
    if not first.startswith(f"Fault {number}:"):
        wrong.append(f"fault {number} does not say so in its first line")
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    if not tests:
        wrong.append(f"fault {number} has no test")
    if tests and (is_long(tree) or all(is_long(test) for test in tests)):
        wrong.append(f"fault {number} has only tests that `make test` leaves out")
    if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        wrong.append(f"fault {number} looks at no outcome")
    if not any(looks_at_words(node) for node in ast.walk(tree)):
        wrong.append(f"fault {number} looks at no message")
    return wrong


def is_long(node: ast.FunctionDef | ast.Module) -> bool:
    """Whether a test, or all of a file, has the mark `long`; a case of a test may have it."""
    if isinstance(node, ast.FunctionDef):
        marks: list[ast.expr] = node.decorator_list
    else:
        given = [line for line in node.body if isinstance(line, ast.Assign)]
        marks = [line.value for line in given if ast.unparse(line.targets[0]) == "pytestmark"]
    return any("pytest.mark.long" in re.split(r"[^\w.]", ast.unparse(mark)) for mark in marks)


def looks_at_words(node: ast.AST) -> bool:
    """Whether a piece of a test compares with a text, or matches an error's message."""
    if isinstance(node, ast.keyword):
        return node.arg == "match"
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], WORDS):
        sides = [node.left, *node.comparators]
        return any(
            isinstance(side, ast.JoinedStr)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str))
            or isinstance(side, ast.Name)
            for side in sides
        )
    return isinstance(node, ast.Attribute) and node.attr in ("startswith", "search", "fullmatch")


@pytest.mark.parametrize("number", range(1, 41))
def test_every_fault_has_one_file_that_looks_at_outcome_and_message(number: int) -> None:
    assert complaints(number) == []


def test_the_list_names_all_forty_in_order_with_their_files() -> None:
    rows = ROW.findall((HERE / "README.md").read_text(encoding="utf-8"))
    assert [int(row[0]) for row in rows] == list(range(1, 41))
    for number, _, name, in_name in rows:
        assert int(number) == int(in_name)
        assert (HERE / name).is_file(), name


def test_what_is_missing_is_noticed(tmp_path: Path) -> None:
    assert complaints(7, tmp_path) == ["fault 7 has 0 test files"]
    (tmp_path / "test_07_x.py").write_text('"""Something."""\n\n\ndef helper():\n    pass\n')
    assert len(complaints(7, tmp_path)) == 4
    (tmp_path / "test_07_x.py").write_text(
        '"""Fault 7: x."""\n\n\ndef test_x():\n    with raises(E, match="x"):\n        f()\n'
    )
    assert complaints(7, tmp_path) == ["fault 7 looks at no outcome"]
    for marked in ("\n@pytest.mark.long\ndef ", "pytestmark = [pytest.mark.long]\n\ndef "):
        (tmp_path / "test_07_x.py").write_text(
            f'"""Fault 7: x."""\n{marked}test_x():\n    assert "x" in f()\n'
        )
        (complaint,) = complaints(7, tmp_path)
        assert complaint == "fault 7 has only tests that `make test` leaves out"
    with (tmp_path / "test_07_x.py").open("a") as file:
        file.write("\ndef test_y():\n    pass\n")
    assert len(complaints(7, tmp_path)) == 1  # the mark of the whole file
    (tmp_path / "test_07_x.py").write_text(
        '"""Fault 7: x."""\n\n@pytest.mark.long\ndef test_x():\n    assert "x" in f()\n'
        "\ndef test_y():\n    pass\n"
    )
    assert complaints(7, tmp_path) == []
    (tmp_path / "test_07_y.py").write_text("")
    assert complaints(7, tmp_path) == ["fault 7 has 2 test files"]
