"""The library is quiet, and changes nothing of what others made."""

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


# Nobody changes from outside what another module's objects do: no other class, no other forward, no
# attribute of a model that was handed in. Who needs another way makes a view or a copy.
MODELS = ("Module", "LanguageModel", "GPT", "Block", "Embedding", "Linear")


def patches(path: Path) -> list[str]:
    """Return where a module plants something in objects that it did not make."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    } - {"sys", "tempfile"}  # the command line repairs its own streams, and its folder for scraps
    found = []
    for function in [tree, *ast.walk(tree)]:
        if not isinstance(function, ast.Module | ast.FunctionDef):
            continue
        arguments = function.args if isinstance(function, ast.FunctionDef) else None
        given = [] if arguments is None else [*arguments.args, *arguments.kwonlyargs]
        models = {a.arg for a in given if a.annotation and named_in(a.annotation) & {*MODELS}}
        for node in ast.walk(function):
            for target in targets_of(node):
                base = target.value
                owner = base.id if isinstance(base, ast.Name) else ""
                outside = owner in models or owner in imported
                if outside or target.attr in ("__class__", "forward"):
                    found.append(f"{path.name}, line {target.lineno} sets {ast.unparse(target)}")
    return sorted(set(found))


def named_in(annotation: ast.expr) -> set[str]:
    nodes = [*ast.walk(annotation)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def targets_of(node: ast.AST) -> list[ast.Attribute]:
    """Return the attributes that a statement assigns to or deletes."""
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    else:
        return []
    nodes = [inner for target in targets for inner in ast.walk(target)]
    return [
        inner
        for inner in nodes
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store | ast.Del)
    ]


@pytest.mark.parametrize("name", modules_of(ROOT / "bhushgpt"))
def test_a_module_plants_nothing_in_what_others_made(name: str) -> None:
    assert patches(modules_of(ROOT / "bhushgpt")[name]) == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(model: nn.Module):\n    model.head = None",
        "def f(model: GPT | None):\n    del model.norm",
        "def f(parts):\n    for part in parts:\n        part.__class__ = int",
        "for block in blocks:\n    block.forward, x = None, 1",
        "import torch\n\n\ntorch.mm = None",
        "from a import GPT\nGPT.forward = None",
    ],
)
def test_something_planted_is_noticed(code: str, tmp_path: Path) -> None:
    module = tmp_path / "patch.py"
    module.write_text(code)
    assert len(patches(module)) == 1


def test_own_attributes_may_be_set(tmp_path: Path) -> None:
    module = tmp_path / "own.py"
    module.write_text("def __init__(self, model: nn.Module):\n    self.model = model")
    assert patches(module) == []
