"""Thousands of wrong answers that nobody wrote: references with one thing changed.

A mutant is the source of a reference with one operator, index, axis, sign, comparison, constant,
name, call, argument or statement altered. A checker that calls one of them right has a hole, or
the change makes no difference; `equivalent_mutants.toml` lists these with the reason.

Not made are changes that never make a difference: exchanged axes of a transpose or arguments of
min and max, which of several inputs a size is read from, the sign of an axis, the sign of what is
squared or made absolute, a number as a tensor instead of a float (the checkers take either), a
tolerance for rounding, and `strict=` of a zip.
"""

import ast
import copy
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bhushgpt.exercises.exercise import Exercise

OTHER_OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Div, ast.Mult),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
ORDER_MATTERS = (ast.Sub, ast.Div, ast.FloorDiv, ast.Pow, ast.MatMult, ast.Mod)
OTHER_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OTHER_NAMES = {
    "mean": "sum",
    "sum": "mean",
    "max": "min",
    "min": "max",
    "argmax": "argmin",
    "argmin": "argmax",
    "amax": "amin",
    "cos": "sin",
    "sin": "cos",
    "exp": "log",
    "log": "exp",
    "sqrt": "square",
    "square": "sqrt",
    "rsqrt": "sqrt",
    "ceil": "floor",
    "floor": "ceil",
    "tril": "triu",
    "triu": "tril",
    "ones": "zeros",
    "zeros": "ones",
    "log_softmax": "softmax",
    "softmax": "log_softmax",
    "startswith": "endswith",
    "endswith": "startswith",
    "tanh": "sigmoid",
    "all": "any",
    "any": "all",
    "append": "extend",
    "split": "rsplit",
    "rsplit": "split",
}
FORMS = ("item", "tolist", "long", "float", "list", "tuple")  # the checkers take either form
SYMMETRIC = ("transpose", "swapaxes", "min", "max")
Change = tuple[str, Callable[[Any], ast.AST | None]]


@dataclass(frozen=True)
class Mutant:
    """One change of a reference: where, what it said and says now, and the answer itself."""

    line: int
    """Line of the reference's source, counted from 1."""
    change: str
    answer: Callable[..., Any]

    def __str__(self) -> str:
        return f"line {self.line}: {self.change}"


def mutants(exercise: Exercise) -> Iterator[Mutant]:
    """Yield all mutants of an exercise's reference, the same ones in the same order each time."""
    reference = exercise.reference
    tree = ast.parse(textwrap.dedent(inspect.getsource(reference)))
    function = tree.body[0]
    parameters = [each.arg for each in ast.walk(function) if isinstance(each, ast.arg)]
    parameters = [name for name in parameters if name != "self"]
    seen = {ast.unparse(tree)}
    for place, (original, parent) in enumerate(_nodes(tree)):
        for number, (kind, _) in enumerate(_changes(original, parent, parameters)):
            other = copy.deepcopy(tree)
            node, above = next(itertools.islice(_nodes(other), place, None))
            new = _changes(node, above, parameters)[number][1](node)
            other = _Replaced(node, new).visit(other)
            source = ast.unparse(ast.fix_missing_locations(other))
            if source in seen:
                continue
            seen.add(source)
            namespace = dict(vars(inspect.getmodule(reference)))
            try:
                exec(compile(source, f"<{kind} in {reference.__name__}>", "exec"), namespace)
            except SyntaxError:  # such as a `continue` that stands in no loop
                continue
            change = f"{_text(original)} -> {_text(new) if new else 'nothing'} ({kind})"
            line = getattr(original, "lineno", 1)
            yield Mutant(line, change, namespace[reference.__name__])


class _Replaced(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST | None) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        if node is self.old:
            return ast.Pass() if self.new is None else self.new
        return self.generic_visit(node)


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else f"{text[:67]}..."


def _nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield what may be changed, each with what it is part of; no annotations or docstrings."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue
            yield child, tree
            yield from _nodes(child)


def _is_axis(parent: ast.AST) -> bool:
    match parent:
        case ast.keyword(arg="dim" | "axis") | ast.Subscript(value=ast.Attribute(attr="shape")):
            return True
    return False


def _is_slack(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value < 1e-4


def _loses_its_sign(parent: ast.AST) -> bool:
    match parent:
        case ast.BinOp(op=ast.Pow()) | ast.Call(func=ast.Name(id="abs")):
            return True
        case ast.Attribute(attr="abs" | "square"):
            return True
    return False


def _changes(node: ast.AST, parent: ast.AST, parameters: list[str]) -> list[Change]:
    """Return the changes of one node: what kind, and a function that makes it."""
    found: list[Change] = []
    match node:
        case ast.BinOp():
            found += _of_operation(node, parent)
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()) if not _is_axis(parent):
            found.append(("sign", lambda n: n.operand))
        case ast.Compare(ops=[operator]):
            others = OTHER_COMPARISONS.get(type(operator), ())
            if any(map(_is_slack, ast.walk(node))):
                others = others[1:]  # with or without equality is the same then
            for other in others:
                found.append(
                    ("comparison", lambda n, o=other: ast.Compare(n.left, [o()], n.comparators))
                )
        case ast.BoolOp():
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            found.append(("operator", lambda n: ast.BoolOp(other(), n.values)))
            for i in range(len(node.values)):
                found.append(("condition missing", lambda n, i=i: n.values[i]))
        case ast.Constant(value=bool()):
            found.append(("constant", lambda n: ast.Constant(not n.value)))
        case ast.Constant(value=int()):
            found += [("constant", lambda n, d=d: _number(n.value + d)) for d in (1, -1)]
        case ast.Constant(value=float()):
            if _is_slack(node) and isinstance(getattr(parent, "op", parent), ast.Compare | ast.Sub):
                return []
            found.append(("constant", lambda n: _number(2 * n.value if n.value else 1.0)))
        case ast.Slice():
            found += _of_slice(node)
        case ast.Subscript(ctx=ast.Load()):
            found.append(("index missing", lambda n: n.value))
            if not isinstance(node.slice, ast.Slice | ast.Tuple | ast.Constant | ast.UnaryOp):
                found.append(("index", lambda n: ast.Subscript(n.value, _plus(n.slice, 1), n.ctx)))
        case ast.Attribute(ctx=ast.Load()) if node.attr in OTHER_NAMES:
            found.append(
                ("other call", lambda n: ast.Attribute(n.value, OTHER_NAMES[n.attr], n.ctx))
            )
        case ast.Attribute(ctx=ast.Load(), attr="T" | "mT"):
            found.append(("step missing", lambda n: n.value))
        case ast.Name(ctx=ast.Load()):
            found += _of_name(node, parent, parameters)
        case ast.Call():
            found += _of_call(node)
        case ast.AugAssign():
            for other in OTHER_OPERATORS.get(type(node.op), ()):
                found.append(("operator", lambda n, o=other: ast.AugAssign(n.target, o(), n.value)))
            found.append(("not added", lambda n: ast.Assign([n.target], n.value)))
            found.append(("statement missing", lambda n: None))
        case ast.Assign() | ast.Expr() | ast.Delete() | ast.AnnAssign() | ast.With() | ast.For():
            found.append(("statement missing", lambda n: None))
            if isinstance(node, ast.For):
                for part in ("lower", "upper"):
                    found.append(("one left out", lambda n, p=part: _shorter(n, p)))
        case ast.If():
            found.append(("condition turned", lambda n: _if(n, ast.UnaryOp(ast.Not(), n.test))))
            found.append(("condition missing", lambda n: _if(n, ast.Constant(True))))
            found.append(("branch missing", lambda n: _if(n, ast.Constant(False))))
        case ast.IfExp():
            found.append(("branches swapped", lambda n: ast.IfExp(n.test, n.orelse, n.body)))
            found.append(("branch missing", lambda n: n.body))
            found.append(("branch missing", lambda n: n.orelse))
        case ast.comprehension():
            if node.ifs:
                found.append(
                    ("condition missing", lambda n: ast.comprehension(n.target, n.iter, [], 0))
                )
            for part in ("lower", "upper"):
                found.append(
                    (
                        "one left out",
                        lambda n, p=part: ast.comprehension(n.target, _cut(n.iter, p), n.ifs, 0),
                    )
                )
        case ast.Return(value=ast.Tuple(elts=[_, _, *_])):
            found.append(("result swapped", _swapped_result))
        case ast.Break():
            found.append(("jump", lambda n: ast.Continue()))
        case ast.Continue():
            found.append(("jump", lambda n: ast.Break()))
    return found


def _of_operation(node: ast.BinOp, parent: ast.AST) -> list[Change]:
    found: list[Change] = []
    two = [isinstance(each, ast.Constant) and each.value == 2 for each in (node.left, node.right)]
    for other in OTHER_OPERATORS.get(type(node.op), ()):
        if not (other is ast.Add and all(two)):  # 2 * 2 is 2 + 2
            found.append(("operator", lambda n, o=other: ast.BinOp(n.left, o(), n.right)))
    lost = isinstance(node.op, ast.Sub) and _loses_its_sign(parent)
    if isinstance(node.op, ORDER_MATTERS) and not lost:
        found.append(("sides swapped", lambda n: ast.BinOp(n.right, n.op, n.left)))
    if not (isinstance(node.op, ast.Sub) and _is_slack(node.right)):
        found.append(("step missing", lambda n: n.left))
    found.append(("step missing", lambda n: n.right))
    return found


def _of_slice(node: ast.Slice) -> list[Change]:
    found: list[Change] = []
    for part in ("lower", "upper", "step"):
        if getattr(node, part) is None:
            continue
        found.append(("bound missing", lambda n, p=part: _bounded(n, p, None)))
        if part == "step":
            continue
        for d in (1, -1):
            found.append(("bound", lambda n, p=part, d=d: _bounded(n, p, _plus(getattr(n, p), d))))
    return found


def _of_name(node: ast.Name, parent: ast.AST, parameters: list[str]) -> list[Change]:
    if node.id in ("min", "max", "sum", "any", "all"):
        return [("other call", lambda n: ast.Name(OTHER_NAMES[n.id], n.ctx))]
    counted = ast.unparse(parent).startswith("len(") or getattr(parent, "attr", "") == "shape"
    if node.id in parameters and len(parameters) > 1 and not counted:
        after = parameters[(parameters.index(node.id) + 1) % len(parameters)]
        return [("other name", lambda n: ast.Name(after, n.ctx))]
    return []


def _of_call(node: ast.Call) -> list[Change]:
    found: list[Change] = []
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name not in FORMS and isinstance(node.func, ast.Attribute):
        found.append(("step missing", lambda n: n.func.value))
    plain = [each for each in node.args if not isinstance(each, ast.Starred | ast.GeneratorExp)]
    if name not in FORMS and len(node.args) == len(plain) == 1:
        found.append(("step missing", lambda n: n.args[0]))
    for i in range(len(node.args) - 1):
        if name not in SYMMETRIC:
            found.append(("arguments swapped", lambda n, i=i: _swapped_arguments(n, i)))
    for i, keyword in enumerate(node.keywords):
        if keyword.arg != "strict":
            found.append(
                ("argument missing", lambda n, i=i: ast.Call(n.func, n.args, _but(n.keywords, i)))
            )
    return found


def _but(things: list[Any], place: int) -> list[Any]:
    return [thing for number, thing in enumerate(things) if number != place]


def _swapped_arguments(node: ast.Call, place: int) -> ast.Call:
    args = list(node.args)
    args[place], args[place + 1] = args[place + 1], args[place]
    return ast.Call(node.func, args, node.keywords)


def _swapped_result(node: Any) -> ast.Return:
    first, second, *others = node.value.elts
    return ast.Return(ast.Tuple([second, first, *others], ast.Load()))


def _cut(sequence: ast.expr, part: str) -> ast.expr:
    """Return a sequence without its first or its last member."""
    one = ast.Constant(1)
    cut = ast.Slice(one) if part == "lower" else ast.Slice(None, ast.UnaryOp(ast.USub(), one))
    whole = ast.Call(ast.Name("list", ast.Load()), [sequence], [])
    return ast.Subscript(whole, cut, ast.Load())


def _shorter(node: ast.For, part: str) -> ast.For:
    return ast.For(node.target, _cut(node.iter, part), node.body, node.orelse)


def _number(value: float) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def _plus(node: ast.expr, difference: int) -> ast.expr:
    operator = ast.Add() if difference > 0 else ast.Sub()
    return ast.BinOp(node, operator, ast.Constant(abs(difference)))


def _bounded(node: ast.Slice, part: str, bound: ast.expr | None) -> ast.Slice:
    new = ast.Slice(node.lower, node.upper, node.step)
    setattr(new, part, bound)
    return new


def _if(node: ast.If, test: ast.expr) -> ast.If:
    return ast.If(test, node.body, node.orelse)
