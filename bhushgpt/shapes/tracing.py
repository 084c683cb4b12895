"""Shape comments, run: in a file's source, in every cell of a notebook, or in one forward pass.

Code is rewritten so that every `# (B, T, C)` becomes a check. The rewriting works on the syntax
tree and keeps all line numbers: `x = f(y)  # (B, T)` becomes `x = check(f(y))`, a call that looks
at the value and hands it on. `bhushgpt.shapes.claims` says what a comment may look like.

`execute_comments` and `shapes` are for the person at the notebook, `ShapeTrace` is below both.

Lesson: notebook 01.
"""

import ast
import inspect
import itertools
import linecache
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from bhushgpt.shapes.claims import (
    Claim,
    Letters,
    ShapeCommentError,
    ShapeTable,
    find_claims,
    judge,
    shape_of,
)

_LETTERS = "__shape_letters__"
_serial = itertools.count()


class ShapeTrace:
    r"""The shape comments of one source text, and what each of them met.

    Args:
        source: Python source text.
        name: How messages call it: a file or a cell.
        known: Sizes of letters that are fixed from outside, for example `{"B": 5}`.
        table: Where to write what was met; its own table if None.

    Attributes:
        claims: Every comment that can be checked.
        dead: A sentence for every comment that holds a shape and can never be checked.
        table: The real shapes that were met.
        tree: The rewritten syntax tree.

    >>> source = "def double(x):\n    return x + x  # (B, 2)"
    >>> trace = ShapeTrace(source, "cell 1")
    >>> double = trace.run()["double"]
    >>> [claim.text for claim in trace.unreached]
    ['(B, 2)']
    >>> import numpy as np
    >>> y = double(np.ones((5, 2)))
    >>> trace.unreached, trace.table["cell 1", 2]
    ([], ('return x + x', '(B, 2)', '(5, 2)'))
    """

    def __init__(
        self,
        source: str,
        name: str,
        known: Mapping[str, int] | None = None,
        table: ShapeTable | None = None,
    ) -> None:
        self.name, self.known = name, dict(known or {})
        self.table = ShapeTable() if table is None else table
        self.key = f"__shape_trace_{next(_serial)}__"
        self.lines = source.splitlines()
        self._all, self.dead = find_claims(source)
        rewriter = _Rewriter({claim.line: i for i, claim in enumerate(self._all)}, self.key)
        self.tree = rewriter.scope(ast.parse(source))
        self.claims = [c for c in self._all if c.line not in rewriter.waiting]
        self.dead += [
            f"line {line}: '# {self._all[i].text}' stands behind nothing that has a value. Put it "
            "behind an assignment, a return, an expression, a for line or a parameter."
            for line, i in rewriter.waiting.items()
        ]

    @property
    def unreached(self) -> list[Claim]:
        """The comments that no run has executed yet."""
        return [claim for claim in self.claims if (self.name, claim.line) not in self.table]

    def run(self, namespace: dict[str, Any] | None = None, filename: str = "") -> dict[str, Any]:
        """Execute the rewritten source in `namespace`, by default a new one, and return it."""
        namespace = {"__name__": self.name} if namespace is None else namespace
        namespace[self.key] = self
        exec(compile(self.tree, filename or self.name, "exec"), namespace)
        return namespace

    def open_call(self) -> Letters:
        """Return the letters of a new call: those fixed from outside, the rest unknown."""
        return Letters(dict(self.known), dict.fromkeys(self.known, "given"))

    def check(self, index: int, value: Any, letters: Letters, variables: Mapping[str, Any]) -> Any:
        """Return `value` if comment number `index` is true of it.

        Raises:
            ShapeCommentError: If it is not.
        """
        claim = self._all[index]
        if claim.is_list and not hasattr(value, "__len__"):
            value = tuple(value)  # an iterator could be read only once
        wrong = judge(claim, value, letters, variables)
        if not wrong and (self.name, claim.line) in self.table:
            return value  # the usual way, so it is kept short: training loops come here
        code = self.lines[claim.line - 1].split("#")[0].strip()
        if wrong:
            raise ShapeCommentError(
                f"{self.name}, line {claim.line}, '{code}  # {claim.text}': {wrong}."
            )
        met = [str(shape_of(part)) for part in (value if claim.is_list else [value])]
        alike = claim.is_list and len(set(met)) == 1
        shape = f"{len(met)} x {met[0]}" if alike else ", ".join(met)
        self.table[self.name, claim.line] = code, claim.text, shape
        return value


class _Rewriter(ast.NodeTransformer):
    """Puts a call of `check` around the value of each statement that a comment ends."""

    def __init__(self, waiting: dict[int, int], key: str) -> None:
        self.waiting, self.key = waiting, key  # waiting: line of the comment -> its number

    def scope(self, node: Any) -> Any:
        """Visit a function or the whole module; its body begins with a new set of letters."""
        before = len(self.waiting)
        self.generic_visit(node)
        checks = self._parameters(node) if hasattr(node, "args") else []
        if len(self.waiting) < before:
            start = next((i for i, part in enumerate(node.body) if not _first(part)), 0)
            new_letters = ast.parse(f"{_LETTERS} = {self.key}.open_call()").body
            node.body[start:start] = [*_located(new_letters, node.body[start]), *checks]
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = scope

    def value(self, node: Any) -> ast.stmt:
        """Wrap what a statement assigns, returns, yields or shows."""
        self.generic_visit(node)
        holder = node.value if isinstance(node.value, ast.Yield) else node
        if holder.value is not None:
            index = self._take(node.end_lineno, node.lineno)
            holder.value = holder.value if index is None else self._check(index, holder.value)
        return node

    visit_Assign = visit_AnnAssign = visit_Return = visit_Expr = value

    def visit_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        """Look at the variable after it changed."""
        index = self._take(node.end_lineno, node.lineno)
        return [node] if index is None else [node, self._look_at(index, node.target)]

    def visit_For(self, node: ast.For) -> ast.For:
        """Look at the loop variable at the start of every turn."""
        self.generic_visit(node)
        index = self._take(node.iter.end_lineno)
        if index is not None:
            node.body.insert(0, self._look_at(index, node.target))
        return node

    def _parameters(self, function: Any) -> list[ast.stmt]:
        """Look at each parameter that has a line of its own with a comment."""
        named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        lines = [function.lineno, *(parameter.lineno for parameter in named)]
        alone = [p for p in named if lines.count(p.lineno) == 1 and p.lineno in self.waiting]
        return [self._look_at(self.waiting.pop(p.lineno), p) for p in alone]

    def _take(self, *lines: int | None) -> int | None:
        return next((self.waiting.pop(n) for n in lines if n in self.waiting), None)

    def _look_at(self, index: int, target: ast.expr | ast.arg) -> ast.stmt:
        name = target.arg if isinstance(target, ast.arg) else ast.unparse(target)
        # Assigned, because a bare expression at the end of a cell would be displayed.
        hidden = ast.parse(f"__shape_value__ = {name}").body
        _located(hidden, target)
        assert isinstance(hidden[0], ast.Assign)
        hidden[0].value = self._check(index, hidden[0].value)
        return hidden[0]

    def _check(self, index: int, value: ast.expr) -> ast.expr:
        call = ast.parse(f"{self.key}.check({index}, 0, {_LETTERS}, locals())").body
        _located(call, value)
        assert isinstance(call[0], ast.Expr) and isinstance(call[0].value, ast.Call)
        call[0].value.args[1] = value
        return call[0].value


def _located(statements: list[ast.stmt], place: ast.AST) -> list[ast.stmt]:
    """Give new nodes the line of the code they stand at, so that tracebacks stay true."""
    for statement in statements:
        for node in ast.walk(statement):
            ast.copy_location(node, place)
    return statements


def _first(statement: ast.stmt) -> bool:
    """Whether nothing may be put before a statement: a docstring, a __future__ import."""
    future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
    return future or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))


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
