"""Pastes what stands above an exercise in its lesson as the answer: none may be `Right`.

`solution_leaks` compares the shape of code with the reference; this runs it. Of each cell above an
exercise are tried: every function that it defines or takes from the package; such a function as the
body of the answer, the exercise's arguments in the place of the lesson's own names; and a cell's
bare statements with those arguments, if they name all of them.
"""

import ast
import contextlib
import inspect
import io
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.imports import PACKAGE, code_trees
from tools.stored_notebook import StoredNotebook, tags

Names = dict[str, Any]
Tried = tuple[str, Callable[..., Any]]


@dataclass(frozen=True)
class Asked:
    """An exercise as it stands in a notebook."""

    index: int
    """The cell of its stub."""
    exercise: Any
    name: str
    """The stub's name, such as my_merge."""
    parameters: list[str]


def pasted(notebook: StoredNotebook) -> list[str]:
    """Return the exercises that something above them answers, with the cell."""
    trees = dict(code_trees(notebook.node))
    complaints = []
    for asked in exercises_in(notebook, trees):
        above = {
            i: tree for i, tree in trees.items() if i < asked.index and not _is_stub(notebook, i)
        }
        for index, (what, answer) in candidates(above, asked.parameters):
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                right = asked.exercise.judge(answer).status == "right"
            if right:
                complaints.append(
                    f"Cell {index}: {what} answers {asked.name} of cell {asked.index}."
                )
    return complaints


def exercises_in(notebook: StoredNotebook, trees: dict[int, ast.AST]) -> Iterator[Asked]:
    """Yield the exercises whose stub is a function, each with the names of its arguments."""
    names: Names = {}
    for tree in trees.values():
        for node in _body(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(
                f"{PACKAGE}.exercises"
            ):
                _run([node], names)
    checked = {
        argument.id: names[node.func.value.id]
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "check" and isinstance(node.func.value, ast.Name)
        for argument in node.args
        if isinstance(argument, ast.Name) and node.func.value.id in names
    }
    for index, tree in trees.items():
        for node in _body(tree):
            if (
                isinstance(node, ast.FunctionDef)
                and node.name in checked
                and _is_stub(notebook, index)
            ):
                arguments = [argument.arg for argument in node.args.args]
                yield Asked(index, checked[node.name], node.name, arguments)


def candidates(above: dict[int, ast.AST], parameters: list[str]) -> Iterator[tuple[int, Tried]]:
    """Yield (cell, what is pasted and as which function) for cells that stand above an exercise."""
    names: Names = {}
    for index, tree in above.items():
        given = set(names)
        cheap = [node for node in _body(tree) if _is_cheap(node)]
        _run(cheap, names)
        for name in [name for name in names if name not in given or _defines(cheap, name)]:
            thing = names[name]
            if _takes(thing, parameters):
                yield index, (name, thing)
            if _reads(thing, parameters):
                yield index, (f"the body of {name}", _as_body(thing, parameters))
        # A learner leaves out imports, and lines that give an argument another value.
        bare = [
            node
            for node in _body(tree)
            if not isinstance(node, ast.Import | ast.ImportFrom)
            and not (isinstance(node, ast.Assign) and _bound([node]) <= {*parameters})
        ]
        for name in sorted(_bound(bare)) if set(parameters) <= _loaded(bare) else ():
            code = compile(ast.Module(bare, []), "<cell>", "exec")
            yield index, (f"the cell, for {name}", _as_statements(code, name, parameters, names))


LESSON = "lesson"  # the module's name of what cells define


def _takes(thing: Any, parameters: list[str]) -> bool:
    """Return whether it is a function of the lesson or the package that can take the arguments."""
    module = str(getattr(thing, "__module__", ""))
    if not inspect.isfunction(thing) or (module != LESSON and not module.startswith(f"{PACKAGE}.")):
        return False
    try:
        inspect.signature(thing).bind(*parameters)
    except (TypeError, ValueError):
        return False
    return True


def _reads(thing: Any, parameters: list[str]) -> bool:
    """Return whether it is a function of the lesson that reads an argument as a name of its own."""
    if not inspect.isfunction(thing) or thing.__module__ != LESSON:
        return False
    return len(inspect.signature(thing).parameters) < len(parameters) and bool(
        set(parameters) & set(thing.__code__.co_names)
    )


def _as_body(function: types.FunctionType, parameters: list[str]) -> Callable[..., Any]:
    """Return an answer whose body is the function's, its free names the exercise's arguments."""
    wanted = list(inspect.signature(function).parameters)

    def answer(*args: Any) -> Any:
        bound = dict(zip(parameters, args, strict=True))
        free = [value for name, value in bound.items() if name not in wanted]
        inner = types.FunctionType(
            function.__code__,
            {**function.__globals__, **bound},
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        if set(wanted) <= set(bound):
            return inner(*(bound[name] for name in wanted))
        return inner(*(bound[name] if name in bound else free.pop(0) for name in wanted))

    return answer


def _as_statements(
    code: types.CodeType, name: str, parameters: list[str], names: Names
) -> Callable[..., Any]:
    """Return an answer that runs a cell with the exercise's arguments and returns one name."""

    def answer(*args: Any) -> Any:
        inner = {**names, **dict(zip(parameters, args, strict=True))}
        exec(code, inner)
        return inner[name]

    return answer


def _body(tree: ast.AST) -> list[ast.stmt]:
    return tree.body if isinstance(tree, ast.Module) else []


def _is_stub(notebook: StoredNotebook, index: int) -> bool:
    return "exercise" in tags(notebook.cells[index])


def _is_cheap(node: ast.stmt) -> bool:
    """Return whether a statement binds names and computes nothing."""
    if isinstance(node, ast.Assign):
        with contextlib.suppress(ValueError):
            ast.literal_eval(node.value)
            return True
        return isinstance(node.value, ast.Lambda)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def _run(statements: list[ast.stmt], names: Names) -> None:
    """Run statements one by one; what needs something that is not there stays undefined."""
    names.setdefault("__name__", LESSON)
    for statement in statements:
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(ast.Module([statement], []), "<cell>", "exec"), names)


def _defines(statements: list[ast.stmt], name: str) -> bool:
    return any(getattr(node, "name", None) == name for node in statements)


def _bound(statements: list[ast.stmt]) -> set[str]:
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _loaded(statements: list[ast.stmt]) -> set[str]:
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
