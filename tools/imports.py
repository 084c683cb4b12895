"""What code imports from the package: in modules and notebooks, inside functions too."""

import ast
from collections.abc import Iterable, Iterator

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

PACKAGE = "bhushgpt"


def imported_modules(tree: ast.AST, here: str, known: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield (module below the package, line) for all imports of the package, wherever they stand.

    Args:
        tree: The code.
        here: The module that it is, below the package, for relative imports; "" for a notebook.
        known: Names of modules, to tell `from bhushgpt import module` from a name in a module.
    """
    known = set(known)
    for node in ast.walk(tree):
        for full in _named_by(node, here):
            if full.split(".")[0] != PACKAGE:
                continue
            name = full.removeprefix(PACKAGE).removeprefix(".")
            # `from bhushgpt.gpt import GPT` names bhushgpt.gpt.GPT: drop what is no module.
            while name and name not in known and name.rpartition(".")[0] in known:
                name = name.rpartition(".")[0]
            if name:
                yield name, getattr(node, "lineno", 0)


def _named_by(node: ast.AST, here: str) -> list[str]:
    """Return the full dotted names that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        start = _absolute("." * node.level + (node.module or ""), here)
        return [start if alias.name == "*" else f"{start}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        name = node.args[0]
        if called in ("import_module", "__import__") and isinstance(name, ast.Constant):
            return [_absolute(str(name.value), here)]
    return []


def _absolute(name: str, here: str) -> str:
    """Return a name with leading dots as seen from a module of the package."""
    stripped = name.lstrip(".")
    if stripped == name:
        return name
    parents = [PACKAGE, *here.split(".")][: -(len(name) - len(stripped))]
    return ".".join([*parents, stripped]) if stripped else ".".join(parents)


def code_trees(notebook: NotebookNode) -> Iterator[tuple[int, ast.AST]]:
    """Yield (cell index, syntax tree) for the code cells; magics and ! lines are understood.

    A cell that is not Python even so is left to the test that runs it.
    """
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            try:
                yield index, ast.parse(TransformerManager().transform_cell(cell.source))
            except SyntaxError:
                continue


def uses_package(notebook: NotebookNode, place: int) -> bool:
    """Return whether a cell uses a name that it or a cell before it imports from the package."""
    imported: set[str] = set()
    for index, tree in code_trees(notebook):
        nodes = list(ast.walk(tree)) if index <= place else []
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                imported |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                names = [alias.asname or alias.name.split(".")[0] for alias in node.names]
                ours = [alias.name.startswith(PACKAGE) for alias in node.names]
                imported |= {name for name, our in zip(names, ours, strict=True) if our}
        if index == place:
            return any(isinstance(node, ast.Name) and node.id in imported for node in nodes)
    return False
