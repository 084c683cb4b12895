"""Finds the answer of an exercise in the lesson that asks for it.

Code is compared by its syntax tree: comments, docstrings, annotations, layout and the names of
variables do not matter.
"""

import ast
import builtins
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from tools.curriculum import ROOT, modules_of
from tools.imports import PACKAGE, code_trees
from tools.stored_notebook import StoredNotebook

KEPT = {*dir(builtins), "torch", "nn", "F", "np", "math"}  # names that say what is done
LEAST_NODES = 12  # a smaller body, such as `return x`, is nobody's solution
LEAST_STATEMENTS = 3  # the same for statements outside a function of their own

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _Numbered(ast.NodeTransformer):
    """Gives variables numbers in the order in which they appear, and drops annotations."""

    def __init__(self) -> None:
        self.numbers: dict[str, str] = {}

    def _number(self, name: str) -> str:
        return name if name in KEPT else self.numbers.setdefault(name, f"v{len(self.numbers)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._number(node.id), ast.Load())

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._number(node.arg), None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        value = node.value or ast.Constant(None)
        return self.visit(ast.Assign([node.target], value))


def skeleton(statements: Sequence[ast.stmt]) -> list[str]:
    """Return statements as texts that are equal where the same is done in the same way.

    >>> one = ast.parse("y = x + 1  # next").body
    >>> two = ast.parse("after: int = before + 1").body
    >>> skeleton(one) == skeleton(two)
    True
    """
    numbered = _Numbered()
    copies = ast.parse(ast.unparse(ast.Module(list(statements), []))).body
    return [ast.dump(numbered.visit(copy)) for copy in copies]


def body_of(function: Function) -> list[ast.stmt]:
    """Return what a function does: its statements without the docstring."""
    if isinstance(function, ast.Lambda):
        return [ast.Return(function.body)]
    first, *rest = function.body
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return rest if documented else function.body


def is_trivial(body: Sequence[ast.stmt]) -> bool:
    """Return whether a body says too little to be recognised."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    return sum(not isinstance(node, ast.expr_context) for node in nodes) < LEAST_NODES


def bodies_of(reference: ast.AST) -> list[list[ast.stmt]]:
    """Return the bodies that make an answer: of a function its own, of a class its methods'."""
    for node in ast.walk(reference):
        if isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
            return [body for body in map(body_of, methods) if body and not is_trivial(body)]
        if isinstance(node, Function):
            body = body_of(node)
            return [body] if body and not is_trivial(body) else []
    return []


def runs_of(tree: ast.AST, length: int) -> Iterator[list[ast.stmt]]:
    """Yield all runs of that many statements that follow each other."""
    for node in ast.walk(tree):
        for part in ("body", "orelse", "finalbody"):
            block = getattr(node, part, None)
            if isinstance(block, list):
                for start in range(len(block) - length + 1):
                    yield block[start : start + length]


class Code:
    """A cell's code, and what it does: worked out once, however many answers are looked for.

    Args:
        tree: Its syntax tree.
    """

    def __init__(self, tree: ast.AST) -> None:
        self.tree = tree
        self._runs: dict[int, set[tuple[str, ...]]] = {}

    @cached_property
    def functions(self) -> set[tuple[str, ...]]:
        """What each of its functions does."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, Function)]
        return {tuple(skeleton(body)) for body in map(body_of, found) if body}

    def runs(self, length: int) -> set[tuple[str, ...]]:
        """Return what each run of so many statements does."""
        if length not in self._runs:
            found = map(with_bare_end, runs_of(self.tree, length))
            self._runs[length] = {tuple(skeleton(run)) for run in found}
        return self._runs[length]

    def holds(self, body: "Wanted") -> bool:
        """Return whether it does what a body does, in a function or in bare statements."""
        if body.whole in self.functions:
            return True
        return body.length >= LEAST_STATEMENTS and body.bare in self.runs(body.length)


@dataclass(frozen=True)
class Wanted:
    """What a body of an answer does, as it is and with a bare end."""

    whole: tuple[str, ...]
    bare: tuple[str, ...]
    length: int


@cache
def wanted(answer: str) -> list[Wanted]:
    """Return what is looked for of an answer's source."""
    return [
        Wanted(tuple(skeleton(body)), tuple(skeleton(with_bare_end(body))), len(body))
        for body in bodies_of(ast.parse(answer))
    ]


def with_bare_end(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return statements with the last one as its value alone, returned, assigned or shown."""
    *others, last = body
    value = last.value if isinstance(last, ast.Return | ast.Assign | ast.Expr) else None
    return [*others, ast.Expr(value) if value else last]


@cache
def references() -> dict[str, str]:
    """Return the source of every exercise's answer that is a function or a class."""
    found = {}
    for module in modules_of(ROOT / PACKAGE):
        if module.startswith("exercises.nb"):
            for name, thing in vars(importlib.import_module(f"{PACKAGE}.{module}")).items():
                answer: Callable[..., Any] | None = getattr(thing, "reference", None)
                if inspect.isfunction(answer) or inspect.isclass(answer):
                    found[f"{module}.{name}"] = textwrap.dedent(inspect.getsource(answer))
    return found


def leaks(notebook: StoredNotebook, answers: Mapping[str, str]) -> list[str]:
    """Return the exercises whose answer stands in the notebook, with the cell."""
    complaints = []
    cells = [(index, Code(tree)) for index, tree in code_trees(notebook.node)]
    for exercise, source in answers.items():
        bodies = wanted(source)
        for index, code in cells:
            if bodies and all(map(code.holds, bodies)):
                complaints.append(f"Cell {index} holds the answer of {exercise}.")
    return complaints
