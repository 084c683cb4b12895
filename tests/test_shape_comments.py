"""Every shape comment in the package and in the notebooks is executed here, and is true.

The sizes are pairwise different and, but for C = H * D, pairwise coprime, so that no comment is
true by coincidence. `tests/shape_drivers/<module>.py` and `tests/shape_drivers/nbNN_<topic>.py`
say how to run the code: `drive(code, sizes)`, and optionally `SIZES` for more letters and `FREE`
for letters that change from call to call.
"""

import ast
import importlib.util
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from bhushgpt.shapes.claims import (
    DeadComment,
    Letters,
    ShapeCommentError,
    find_claims,
    judge,
    read_comment,
)
from bhushgpt.shapes.tracing import ShapeTrace, execute_comments, shapes

ROOT = Path(__file__).resolve().parent.parent
DRIVERS = ROOT / "tests" / "shape_drivers"
SIZES = {"B": 5, "T": 7, "C": 12, "H": 3, "D": 4, "V": 11}
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


# The check of the whole project


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "bhushgpt").with_suffix("").parts)


def code_cells(notebook: Path) -> dict[str, str]:
    """Name of each code cell -> its source, magics blanked so that it is plain Python."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = {
        f"{notebook.stem} cell {i}": re.sub(r"(?m)^[%!].*$", "", "".join(cell["source"]))
        for i, cell in enumerate(cells)
        if cell["cell_type"] == "code" and not "".join(cell["source"]).startswith("%%")
    }
    return sources


def has_shapes(source: str) -> bool:
    return any(find_claims(source))


MODULES = {
    module_name(path): path
    for path in sorted((ROOT / "bhushgpt").rglob("*.py"))
    if has_shapes(path.read_text(encoding="utf-8"))
}
NOTEBOOKS = {
    path.stem: path
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    if any(has_shapes(source) for source in code_cells(path).values())
}


def driver_of(name: str) -> ModuleType:
    """Load the driver file of a module (its name) or of a notebook (nb + its name)."""
    path = DRIVERS / f"{name.replace('.', '_')}.py"
    assert path.is_file(), f"{name} has shape comments: add tests/shape_drivers/{path.name}"
    spec = importlib.util.spec_from_file_location(f"shape_driver_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    return driver


def sizes_of(driver: ModuleType) -> tuple[dict[str, int], set[str]]:
    """Return the sizes that the letters must have, and the letters that may vary."""
    free: set[str] = set(getattr(driver, "FREE", ()))
    sizes = SIZES | getattr(driver, "SIZES", {})
    assert len(set(sizes.values())) == len(sizes), f"two letters have the same size: {sizes}"
    return {letter: size for letter, size in sizes.items() if letter not in free}, free


def check(name: str, driver: ModuleType, code: ModuleType, traces: list[ShapeTrace]) -> None:
    """Run a driver; afterwards every claim must have been reached and every letter anchored."""
    known, free = sizes_of(driver)
    torch.manual_seed(1337)
    driver.drive(code, SimpleNamespace(**{**SIZES, **known}))
    for trace in traces:
        assert not trace.dead, "\n".join(trace.dead)
        for claim in trace.claims:
            loose = claim.letters - known.keys() - free
            where = f"{trace.name} line {claim.line}: '# {claim.text}'"
            assert not loose, f"{where}: give {loose} a size in the driver's SIZES (or FREE)"
        lost = [f"line {claim.line}: '# {claim.text}'" for claim in trace.unreached]
        assert not lost, f"never reached by the driver of {name}: {trace.name} {lost}"


def traced_module(name: str, path: Path, known: dict[str, int]) -> tuple[ModuleType, ShapeTrace]:
    """Load a second copy of a module with its shape comments executed; the first is untouched."""
    module = ModuleType(f"bhushgpt.{name}")
    module.__dict__.update(__file__=str(path), __package__=module.__name__.rpartition(".")[0])
    trace = ShapeTrace(path.read_text(encoding="utf-8"), path.name, known)
    trace.run(module.__dict__, filename=str(path))
    return module, trace


def is_definition(node: ast.stmt) -> bool:
    """Whether a statement imports, defines, or names a literal constant."""
    if not isinstance(node, ast.Assign):
        return isinstance(node, KEPT)
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return all(isinstance(target, ast.Name) for target in node.targets)


def traced_notebook(
    name: str, cells: dict[str, str], known: dict[str, int]
) -> tuple[ModuleType, list[ShapeTrace]]:
    """Load a notebook's imports, functions, classes and literal constants, and nothing else."""
    module = ModuleType(name)
    traces, seen = [], set()
    for cell, source in cells.items():
        nodes = [node for node in ast.parse(source).body if is_definition(node)]
        if not nodes:
            continue
        inside = {n for node in nodes for n in range(node.lineno, (node.end_lineno or 0) + 1)}
        # Other lines become empty, so that line numbers stay those of the cell.
        lines = source.splitlines()
        kept = "\n".join(line if i in inside else "" for i, line in enumerate(lines, start=1))
        trace = ShapeTrace(kept, cell, known)
        trace.run(module.__dict__)
        traces.append(trace)
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and trace.claims:
                assert node.name not in seen, f"{name} defines {node.name} twice: use two names"
                seen.add(node.name)
    return module, traces


@pytest.mark.parametrize("name", MODULES)
def test_every_shape_comment_of_the_module_is_reached_and_true(name: str) -> None:
    driver = driver_of(name)
    module, trace = traced_module(name, MODULES[name], sizes_of(driver)[0])
    check(name, driver, module, [trace])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_shape_comment_of_the_notebook_is_reached_and_true(name: str) -> None:
    cells = code_cells(NOTEBOOKS[name])
    dead = [f"{cell}, {text}" for cell, source in cells.items() for text in find_claims(source)[1]]
    assert not dead, "\n".join(dead)
    # Comments outside functions are executed when nbval runs the notebook, if this call is there.
    first = next(i for i, source in enumerate(cells.values()) if has_shapes(source))
    live = [i for i, source in enumerate(cells.values()) if "execute_comments()" in source]
    assert live and live[0] < first, f"{name}: call execute_comments() in the first code cell"
    definitions = traced_notebook(name, cells, {})[1]
    if any(trace.claims for trace in definitions):
        driver = driver_of(f"nb{name}")
        check(name, driver, *traced_notebook(name, cells, sizes_of(driver)[0]))


def test_every_driver_has_code_to_drive() -> None:
    expected = {name.replace(".", "_") for name in MODULES} | {f"nb{name}" for name in NOTEBOOKS}
    assert {path.stem for path in DRIVERS.glob("*.py")} <= expected


# The check itself: what it reads, what it catches


@pytest.mark.parametrize(
    ("text", "shapes", "count"),
    [
        ("(B, T, C)", (("B", "T", "C"),), ""),
        ("(B, T, C) after the residual", (("B", "T", "C"),), ""),
        ("(B, T, 3*C)", (("B", "T", "3*C"),), ""),
        ("(T+1,)", (("T+1",),), ""),
        ("(T)", (("T",),), ""),
        ("()", ((),), ""),
        ("(..., T2, _, 1)", (("...", "T2", "_", "1"),), ""),
        ("3 x (B, H, T, D)", (("B", "H", "T", "D"),), "3"),
        ("H x (B, T, D)", (("B", "T", "D"),), "H"),
        ("(B, T, V), ()", (("B", "T", "V"), ()), ""),
    ],
)
def test_a_shape_comment_is_read(text: str, shapes: tuple, count: str) -> None:
    claim = read_comment(text)
    assert claim is not None
    assert (claim.shapes, claim.count) == (shapes, count)


@pytest.mark.parametrize(
    "text", ["(see below)", "(1) first", "why not P(A, B)?", "f(x, y) is slow", "noqa: E501", ""]
)
def test_prose_is_not_a_shape_comment(text: str) -> None:
    assert read_comment(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "scores: (B, T, T)",
        "(B, T, hs)",
        "[B, T, C]",
        "(B, T, C) -> (B, H, T, D)",
        "(B, T) = (4, 8)",
    ],
)
def test_a_shape_that_would_never_be_checked_is_refused(text: str) -> None:
    with pytest.raises(DeadComment, match="never checked"):
        read_comment(text)


def run(body: str, known: dict[str, int] | None = None, **variables: object) -> ShapeTrace:
    """Execute a snippet with its shape comments."""
    trace = ShapeTrace(textwrap.dedent(body), "snippet", known)
    trace.run({"torch": torch, "np": np, **variables})
    return trace


TRUE = {
    "assignment": "x = torch.zeros(2, 5)  # (B, T)",
    "annotated": "x: object = torch.zeros(2, 5)  # (B, T)",
    "attribute": "import types; m = types.SimpleNamespace()\nm.x = torch.zeros(2)  # (B,)",
    "in place": "x = torch.zeros(2, 1)\nx = x\nx += torch.ones(2, 1)  # (B, 1)",
    "expression": "torch.zeros(2, 5)  # (B, T)",
    "size": "torch.zeros(2, 5).shape  # (B, T)",
    "numpy": "x = np.zeros((2, 5))  # (B, T)",
    "list": "x = [[1, 2, 3], [4, 5, 6]]  # (2, 3)",
    "number": "x = 2.5  # ()",
    "scalar": "x = torch.tensor(2.5)  # ()",
    "last line": "x = torch.zeros(\n    2,\n    5,\n)  # (B, T)",
    "first line": "x = torch.zeros(  # (B, T)\n    2,\n    5,\n)",
    "chunks": "q, k = torch.zeros(2, 6).split(3, dim=1)  # 2 x (B, 3)",
    "iterator": "q, k = (torch.zeros(2, n) for n in (3, 4))  # (B, 3), (B, 4)",
    "stacked": "q, k = torch.zeros(2, 3, 4)  # 2 x (3, 4)",
    "several shapes": "q, k = torch.zeros(2), torch.zeros(3)  # 2 x (_,)",
    "counted by a letter": "x = [torch.zeros(2)] * 3  # H x (B,)",
    "product": "C = 4\nx = torch.zeros(2, 12)  # (B, 3*C)",
    "quotient": "C = 12; H = 3\nx = torch.zeros(2, 4)  # (B, C//H)",
    "dots": "x = torch.zeros(2, 3, 4, 5)\ny = x  # (2, ..., 5)\nz = x  # (..., 2, 3, 4, 5)",
    "loop": "for x in torch.zeros(3, 2, 5):  # (B, T)\n    pass",
    "loop pair": "for x, y in [(torch.zeros(2), torch.zeros(2))]:  # 2 x (B,)\n    pass",
    "return": "def f():\n    return torch.zeros(2)  # (B,)\nf()",
    "yield": "def f():\n    yield torch.zeros(2)  # (B,)\nlist(f())",
    "parameter": "def f(\n  x,  # (B, T)\n  y=1,\n):\n  'doc'\n  return x\nf(torch.zeros(2, 5))",
    "one line": "if True: x = torch.zeros(2)  # (B,)",
    "method": "class A:\n    def f(self):\n        return torch.zeros(2)  # (B,)\nA().f()",
}


@pytest.mark.parametrize("body", TRUE.values(), ids=TRUE)
def test_true_comments_are_reached_and_pass(body: str) -> None:
    trace = run(body)
    assert trace.claims and not trace.unreached and not trace.dead


WRONG = {
    "swapped pair": ("x = torch.zeros(5, 7)  # (T, B)", "axis 0 is 5, but T = 7 (given)"),
    "wrong letter": ("x = torch.zeros(5, 7, 12)  # (B, T, H)", "axis 2 is 12, but H = 3 (given)"),
    "wrong product": ("x = torch.zeros(5, 36)  # (B, 4*C)", "4*C = 48, as C = 12 (given)"),
    "wrong integer": ("x = torch.zeros(5, 2)  # (B, 1)", "axis 1 is 2, not 1"),
    "missing axis": ("x = torch.zeros(5, 7)  # (B, T, C)", "2 axes, not 3"),
    "too few for dots": ("x = torch.zeros(5)  # (B, ..., C)", "1 axes, not 2"),
    "one of three": (
        "x = [torch.zeros(5), torch.zeros(5), torch.zeros(7)]  # 3 x (B,)",
        "value 2: the value is (7,)",
    ),
    "two of three": ("x = [torch.zeros(5)] * 2  # 3 x (B,)", "there are 2 values, not 3"),
    "listed": ("x = torch.zeros(5), torch.zeros(1)  # (B,), ()", "value 1: the value is (1,)"),
    "no shape": ("x = 'text'  # (B,)", "type str has no shape"),
    "ragged": ("x = [[1], [2, 3]]  # (B, T)", "its rows have different lengths"),
    "second use": (
        "x = torch.zeros(9, 8)  # (N, M)\ny = x.T  # (N, M)",
        "line 2, 'y = x.T  # (N, M)': the value is (8, 9): axis 0 is 8, but N = 9 (line 1)",
    ),
    "variable": ("N = 3\nx = torch.zeros(4)  # (N,)", "axis 0 is 4, but N = 3 (a variable)"),
    "after change": ("x = torch.zeros(1)\nx = x\nx += 1  # (B,)", "axis 0 is 1, but B = 5"),
    "second turn": (
        "for n in (5, 6):\n    x = torch.zeros(n)  # (N,)",
        "axis 0 is 6, but N = 5 (line 2)",
    ),
    "parameter": ("def f(\n    x,  # (B,)\n):\n    return x\nf(torch.zeros(6))", "snippet, line 2"),
}


@pytest.mark.parametrize(("body", "message"), WRONG.values(), ids=WRONG)
def test_false_comments_are_caught(body: str, message: str) -> None:
    with pytest.raises(ShapeCommentError, match=re.escape(message)):
        run(body, known=SIZES)


def test_each_call_has_its_own_letters() -> None:
    trace = run("def f(n):\n    return torch.zeros(n)  # (N,)\nf(2), f(3)")
    assert not trace.unreached


def test_a_comment_in_a_branch_that_never_ran_is_reported() -> None:
    trace = run("def f(x):\n    if x:\n        return x  # (B,)\n    return x  # ()\nf(0)")
    assert [claim.line for claim in trace.unreached] == [3]


@pytest.mark.parametrize(
    "body", ["def f(x):  # (B, T)\n    return x", "pass  # (B, T)", "return_ = [\n 1,  # (B,)\n 2]"]
)
def test_a_comment_behind_nothing_that_has_a_value_is_dead(body: str) -> None:
    assert "stands behind nothing" in run(body).dead[0]


def test_line_numbers_in_tracebacks_stay_true() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run("import math\nx = [1]  # (1,)\ny = 1 / 0")
    assert error.traceback[-1].lineno + 1 == 3


def test_the_value_is_handed_on_unchanged() -> None:
    pair = (torch.zeros(2), torch.zeros(2))
    namespace = ShapeTrace("x = pair  # 2 x (B,)", "snippet").run({"pair": pair})
    assert namespace["x"] is pair


def test_the_table_counts_equal_shapes_and_lists_different_ones() -> None:
    trace = run("q, k = torch.zeros(2, 2)  # 2 x (_,)\nx, y = [1], [1, 2]  # 2 x (_,)")
    assert [row[2] for row in trace.table.values()] == ["2 x (2,)", "(1,), (2,)"]


# Planted mistakes: the project's check fails on each


def planted(tmp_path: Path, source: str, driver: str = "drive = lambda m, s: m.f(s)") -> None:
    """Check a module with the given source and driver as the real modules are checked."""
    (tmp_path / "planted.py").write_text("import torch\n" + source)
    (tmp_path / "driver.py").write_text(driver)
    spec = importlib.util.spec_from_file_location("driver", tmp_path / "driver.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    module, trace = traced_module("planted", tmp_path / "planted.py", sizes_of(loaded)[0])
    check("planted", loaded, module, [trace])


def test_a_true_module_passes(tmp_path: Path) -> None:
    planted(tmp_path, "def f(s):\n    return torch.zeros(s.B, s.T)  # (B, T)")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(s):\n    return torch.zeros(s.B, s.T)  # (T, B)", "line 3"),
        ("def f(s):\n    return torch.zeros(s.C)  # (H*T,)", "H\\*T = 21"),
        ("def f(s):\n    if s.B == 0:\n        return s.x  # (B, T)", "never reached"),
        ("def f(s):\n    return torch.zeros(9)  # (N,)", "give {'N'} a size"),
        ("def f(s):\n    return torch.zeros(9)  # x: (B, T)", "never checked"),
    ],
)
def test_a_planted_mistake_in_a_module_fails(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        planted(tmp_path, source)


def test_shape_comments_without_a_driver_fail() -> None:
    with pytest.raises(AssertionError, match=r"add tests/shape_drivers/no_such_module\.py"):
        driver_of("no_such_module")


def test_two_letters_of_one_size_fail(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="two letters have the same size"):
        planted(tmp_path, "def f(s): pass", "SIZES = {'S': 7}\ndrive = lambda m, s: m.f(s)")


CELLS = {
    "nb cell 1": "import torch\nsize = 4\nprint('not run' + 1)",
    "nb cell 2": "class A:\n    def f(self, s):\n        return torch.zeros(s.B, size)  # (B, D)",
}


def test_notebook_definitions_run_without_the_notebook() -> None:
    module, traces = traced_notebook("nb", CELLS, SIZES)
    driver = SimpleNamespace(drive=lambda nb, s: nb.A().f(s))
    check("nb", driver, module, traces)  # type: ignore[arg-type]


def test_a_planted_mistake_in_a_notebook_fails() -> None:
    cells = CELLS | {"nb cell 2": CELLS["nb cell 2"].replace("(B, D)", "(D, B)")}
    module, traces = traced_notebook("nb", cells, SIZES)
    driver = SimpleNamespace(drive=lambda nb, s: nb.A().f(s))
    with pytest.raises(ShapeCommentError, match="nb cell 2, line 3"):
        check("nb", driver, module, traces)  # type: ignore[arg-type]


def test_a_notebook_that_defines_a_checked_name_twice_fails() -> None:
    cells = CELLS | {"nb cell 3": CELLS["nb cell 2"]}
    with pytest.raises(AssertionError, match="defines A twice"):
        traced_notebook("nb", cells, SIZES)


# For the learner


class Doubler(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        T = x.shape[1]
        assert T > 1
        return widened(torch.cat((x, x), dim=1))  # (B, 2*T, 1)


class Liar(Doubler):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)  # (B, T, 1)
        return x + 0 * x.sum()  # (T, B, 1)


def widened(x: torch.Tensor) -> torch.Tensor:
    return x[..., None]  # (..., 1)


def twice_widened(x: torch.Tensor) -> torch.Tensor:
    return widened(widened(x))  # (T, 1, 1)


@dataclass(eq=False)
class Settings:
    size: int = 3


class Decorated(Settings, nn.Module):
    def __init__(self) -> None:
        nn.Module.__init__(self)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1  # (T,)


def test_shapes_shows_the_comments_of_one_forward_pass() -> None:
    with shapes(nn.Sequential(Doubler())) as table:
        Doubler()(torch.zeros(2, 5))
    code = "return widened(torch.cat((x, x), dim=1))"
    assert list(table.values()) == [
        ("return x[..., None]", "(..., 1)", "(2, 10, 1)"),
        (code, "(B, 2*T, 1)", "(2, 10, 1)"),
    ]
    assert f"{code}  (B, 2*T, 1)  (2, 10, 1)" in str(table)


def test_shapes_works_for_a_function_and_what_it_calls() -> None:
    with shapes(twice_widened) as table:
        twice_widened(torch.zeros(3))
    assert [row[2] for row in table.values()] == ["(3, 1)", "(3, 1, 1)"]


def test_shapes_sees_behind_decorators_and_generated_methods() -> None:
    with shapes(Decorated()) as table:
        Decorated()(torch.zeros(3))
    assert [row[2] for row in table.values()] == ["(3,)"]


def test_shapes_catches_a_false_comment_and_leaves_the_class_as_it_was() -> None:
    before = Liar.forward.__code__
    x = torch.zeros(2, 5)
    with pytest.raises(ShapeCommentError, match="axis 0 is 2, but T = 10"), shapes(Liar()):
        Liar()(x)
    assert Liar.forward.__code__ is before
    assert Liar()(x).shape == (2, 10, 1)


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_comments_of_notebook_cells_are_executed(shell: InteractiveShell) -> None:
    shell.run_cell("import torch\nx = torch.zeros(2)  # (B, T): not executed yet")
    execute_comments()
    execute_comments()
    assert shell.run_cell("x = torch.zeros(2, 3)  # (B, T)\nx.ndim").result == 2
    wrong = shell.run_cell("def f(x):\n    return x.T  # (B, T)\ny = x  # (B, T)\nf(y)  # (B, T)")
    assert isinstance(wrong.error_in_exec, ShapeCommentError)
    assert "this cell, line 4, 'f(y)  # (B, T)'" in str(wrong.error_in_exec)
    assert shell.run_cell("%%time\nx = 1").success
    assert shell.run_cell("%matplotlib --list\nx = [1]  # (1,)\nx").result == [1]


def test_outside_a_notebook_execute_comments_does_nothing() -> None:
    execute_comments()


@pytest.mark.parametrize("letters", [{}, {"B": 2}])
def test_a_compound_axis_waits_for_its_letters(letters: dict[str, int]) -> None:
    claim = read_comment("(3*C,)")
    assert claim is not None
    assert judge(claim, np.zeros(7), Letters(dict(letters)), {}) == ""
