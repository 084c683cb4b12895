"""No function of a lesson is the answer of an exercise that stands after it.

Found by trying: the definitions of the cells before a check are handed to its checker. A function
may lean on what its notebook computed; here it has only the notebook's imports and definitions.
"""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
import pytest
from nbformat import v4

from bhushgpt.exercises.exercise import Exercise
from tools.imports import code_trees
from tools.stored_notebook import StoredNotebook, stored_notebooks

NOTEBOOKS = [each for each in stored_notebooks() if each.name[:2] != "00"]  # it has no functions
Pasted = tuple[int, str, Exercise, Callable[..., Any]]


def pasted(notebook: StoredNotebook) -> Iterator[Pasted]:
    """Yield (cell, name, exercise, function) for each check and each function before its cell.

    Functions that take another number of things than the answer cannot be it.
    """
    known: dict[str, Any] = {"__name__": notebook.name}
    functions: dict[str, Callable[..., Any]] = {}
    for index, tree in code_trees(notebook.node):
        exercises = dict(checked_in(tree))
        for exercise in exercises.values():
            wanted = parameters(exercise.reference)
            for name, function in functions.items():
                if not name.startswith("my_") and parameters(function) == wanted:
                    yield index, name, exercise, function
        for statement in getattr(tree, "body", []):
            if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef):
                module = ast.Module([statement], [])
                try:
                    exec(compile(module, f"<cell {index}>", "exec"), known)
                except (ImportError, NameError):  # a default that the notebook computed
                    continue
                if isinstance(statement, ast.FunctionDef):
                    functions[statement.name] = known[statement.name]


def checked_in(tree: ast.AST) -> Iterator[tuple[str, Exercise]]:
    """Yield the exercises whose `check` a cell calls, if their answer is a function."""
    homes = {
        name.asname or name.name: (node.module, name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
    }
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "check":
            if isinstance(called.value, ast.Name) and called.value.id in homes:
                module, name = homes[called.value.id]
                exercise = getattr(importlib.import_module(module), name)
                if isinstance(exercise, Exercise) and inspect.isfunction(exercise.reference):
                    yield name, exercise


def parameters(function: Callable[..., Any]) -> int:
    """Return how many things a function must be given."""
    needed = inspect.signature(function).parameters.values()
    return sum(one.default is inspect.Parameter.empty for one in needed)


def answers(notebook: StoredNotebook) -> list[str]:
    """Return a sentence for each function of a notebook that a later exercise accepts."""
    matplotlib.use("agg")
    return [
        f"{name}, defined before cell {index}, is an answer of {exercise.name}."
        for index, name, exercise, function in pasted(notebook)
        if exercise.judge(function).status == "right"
    ]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[each.name for each in NOTEBOOKS])
@pytest.mark.filterwarnings("ignore")
def test_no_function_of_the_lesson_answers_a_later_exercise(notebook: StoredNotebook) -> None:
    assert answers(notebook) == []


def test_an_answer_that_stands_before_its_exercise_is_found() -> None:
    notebook = next(each for each in NOTEBOOKS if each.name.startswith("15"))
    check = next(i for i, cell in notebook.code if "slope.check(" in cell.source)
    planted = """
def told(scores, ids):
    rows = scores.softmax(dim=-1)
    rows[range(len(ids)), ids] -= 1
    return rows / len(ids)
"""
    cells = [cell.copy() for cell in notebook.cells]
    cells[check - 3]["source"] = planted
    cells[check - 3]["cell_type"] = "code"
    node = v4.new_notebook(cells=cells)
    spoilt = StoredNotebook(name=notebook.name, node=node, folder=notebook.folder)
    assert any(found.startswith("told,") for found in answers(spoilt))
