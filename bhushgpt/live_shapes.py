"""Shape comments for the person at the notebook: checked in every cell, shown as a table.

Lesson: notebook 01.
"""

import ast
import inspect
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from bhushgpt.shape_checks import ShapeTable
from bhushgpt.shape_tracer import ShapeTrace


def execute_comments() -> None:
    """From the next cell on, check every shape comment of this notebook when its line runs.

    A comment that is not true raises `ShapeCommentError`. Comments of top-level code have one set
    of letters per cell; a function has one per call. Outside a notebook nothing happens. Calling
    it twice is the same as once.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is not None and not any(isinstance(t, _LiveCells) for t in shell.ast_transformers):
        live = _LiveCells(shell.user_ns)
        shell.input_transformers_post.append(live.remember)
        shell.ast_transformers.append(live)


class _LiveCells(ast.NodeTransformer):
    """IPython shows a transformer the text of each cell first, and then its syntax tree."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace, self.source = namespace, ""

    def remember(self, lines: list[str]) -> list[str]:
        """Keep the text of the cell; change nothing."""
        self.source = "".join(lines)
        return lines

    def visit(self, node: ast.AST) -> Any:
        """Return the tree of the cell with checks."""
        # Magics such as %%time hand in trees of code that is not the whole cell.
        if ast.dump(node) != ast.dump(ast.parse(self.source)):
            return node
        trace = ShapeTrace(self.source, "this cell")
        self.namespace[trace.key] = trace
        return trace.tree


@contextmanager
def shapes(model: nn.Module | FunctionType) -> Iterator[ShapeTable]:
    """Show the shapes of one forward pass: the comments of a model's code with the real sizes.

    Inside the block, the shape comments in the classes of `model` and its parts (or in a function),
    and in the functions of the same module or notebook, are executed; on leaving it they are
    comments again.

    Yields:
        The table, which fills up while the block runs. `print` it.

    >>> import torch
    >>> with shapes(nn.Linear(3, 4)) as table:  # PyTorch's own code has no shape comments
    ...     y = nn.Linear(3, 4)(torch.zeros(2, 3))
    >>> print(table)
    where  code  comment  shape
    """
    table, undo = ShapeTable(), []
    try:
        for filename, functions in _functions_of(model).items():
            source = "".join(linecache.getlines(filename))
            name = "cell" if "ipykernel" in filename else Path(filename).name
            trace = ShapeTrace(source, name, table=table)
            checked = dict(_codes_in(compile(trace.tree, filename, "exec")))
            for function in functions:
                # Generated code, such as a dataclass's methods, is in no source file.
                if code := checked.get(_place(function.__code__)):
                    undo.append((function, function.__code__))
                    function.__globals__[trace.key] = trace
                    function.__code__ = code
        yield table
    finally:
        for function, code in undo:
            function.__code__ = code


def _functions_of(model: nn.Module | FunctionType) -> dict[str, set[FunctionType]]:
    """Source file or cell -> the model's methods, and the functions of the same namespace."""
    members = {model} if isinstance(model, FunctionType) else set(_methods_of(model))
    for names in [member.__globals__ for member in members]:
        beside = {inspect.unwrap(v) for v in names.values() if isinstance(v, FunctionType)}
        members |= {f for f in beside if isinstance(f, FunctionType) and f.__globals__ is names}
    found: dict[str, set[FunctionType]] = {}
    for member in members:
        found.setdefault(member.__code__.co_filename, set()).add(member)
    return found


def _methods_of(model: nn.Module) -> Iterator[FunctionType]:
    for kind in {kind for part in model.modules() for kind in type(part).__mro__}:
        if kind.__module__.split(".")[0] not in ("torch", "builtins"):
            methods = (inspect.unwrap(v) for v in vars(kind).values() if callable(v))
            yield from (method for method in methods if isinstance(method, FunctionType))


def _codes_in(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    """Find the compiled functions within compiled source, each with its name and line."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name != "<lambda>":  # holds no statement, and two may share a line
                yield _place(constant), constant
            yield from _codes_in(constant)


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_name, code.co_firstlineno
