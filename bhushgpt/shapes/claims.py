"""What a shape comment claims, and whether it is true of a value.

`scores = q @ k.mT  # (B, H, T, T)` claims the shape of the value on its line. In this course such
a comment is a check. This file reads comments (`find_claims`) and judges values by them (`judge`);
`bhushgpt.shapes.tracing` runs them.

How to write one, behind an assignment, a `return`, a bare expression, a `for` line or a parameter
on its own line:

- `# (B, T, C)`: an axis is a capital letter (a digit may follow), an integer, a sum or product of
  these (`3*C`, `T+1`, `C//H`), `_` for any size, or `...` for any number of axes.
- `# (T,)` is one axis, `# ()` a single number.
- `# 3 x (B, T, C)` and `# (B, T, V), ()` describe a tuple or list of values.
- Words may follow the shape, but may not come before it.

A letter has one meaning during a call: its first use in a comment gives it a size, and every later
use must agree.

The letters of the whole package: B batch, T time, C channels, H heads, D head size, V vocabulary.

Lesson: notebook 01.
"""

import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import CodeType
from typing import Any

import numpy as np
import torch

_ATOM = r"(?:[A-Z]\d?|\d+)"
LETTER = re.compile(r"\b[A-Z]\d?\b")
_AXIS = re.compile(rf"\.\.\.|_|{_ATOM}(?: *(?:\*|\+|-|//) *{_ATOM})*")
_CLAIM = re.compile(r"(?:(\S+) x )?(\([^()]*\)(?:, \([^()]*\))*)")
_GROUP = re.compile(r"(?<!\w)[(\[]([^()\[\]]*)[)\]]")


class ShapeCommentError(AssertionError):
    """A shape comment is not true; the message says where, what it claims and what is there."""


class DeadComment(ValueError):
    """A comment holds a shape, but written so that nobody can check it."""


@dataclass(frozen=True)
class Claim:
    """One shape comment: its line, its text, and the axes that it names."""

    line: int
    text: str
    shapes: tuple[tuple[str, ...], ...]
    count: str = ""
    """How many values have the one shape: "3" in `3 x (B, T)`; empty where nothing is counted."""

    @cached_property
    def is_list(self) -> bool:
        """Whether it speaks of several values."""
        return bool(self.count) or len(self.shapes) > 1

    @cached_property
    def letters(self) -> set[str]:
        """The letters that the claim uses."""
        return set(LETTER.findall(" ".join([self.count, *(a for s in self.shapes for a in s)])))


def read_comment(text: str, line: int = 0) -> Claim | None:
    """Return what a comment claims, or None for ordinary prose.

    Raises:
        DeadComment: If it holds a shape that cannot be checked as it is written.

    >>> read_comment("3 x (B, T, 3*C) in one go").shapes
    (('B', 'T', '3*C'),)
    >>> read_comment("(see below)") is None
    True
    """
    start = _CLAIM.match(text)
    groups = _GROUP.findall(start[2]) if start else []
    claimed = bool(groups) and all(_is_shape(group) for group in groups)
    rest = text[start.end() :] if start and claimed else text
    second = _is_shape if claimed else _resembles_shape
    if any("," in group and second(group) for group in _GROUP.findall(rest)):
        raise DeadComment(
            f"line {line}: '# {text}' holds a shape that is never checked. Begin the comment with "
            "the shape of this line's value, '# (B, T, C)', and name no other; an axis is a "
            "capital letter, an integer, a product, _ or ... ."
        )
    if not (start and claimed):
        return None
    return Claim(line, text, tuple(tuple(_axes(group)) for group in groups), start[1] or "")


def find_claims(source: str) -> tuple[list[Claim], list[str]]:
    """Return the shape comments behind code, and a sentence for each dead one.

    >>> find_claims("x = y  # (B, T)" + chr(10) + "# (B, C): a line of prose")[0][0].shapes
    (('B', 'T'),)
    """
    claims, dead = [], []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line, column = token.start
        if token.type == tokenize.COMMENT and token.line[:column].strip():
            try:
                claim = read_comment(token.string.lstrip("#").strip(), line)
            except DeadComment as error:
                dead.append(str(error))
            else:
                claims += [claim] if claim else []
    return claims, dead


def _axes(group: str) -> list[str]:
    return [axis.strip() for axis in group.rstrip(", ").split(",")] if group.strip() else []


def _is_shape(group: str) -> bool:
    # "(1) first" is a numbered remark: a single integer is an axis only as "(1,)".
    return not group.strip().isdigit() and all(_AXIS.fullmatch(axis) for axis in _axes(group))


def _resembles_shape(group: str) -> bool:
    axes = _axes(group)
    short = all(len(axis) <= 5 or _AXIS.fullmatch(axis) for axis in axes)
    return (
        len(axes) > 1
        and short
        and any(LETTER.findall(axis) and _AXIS.fullmatch(axis) for axis in axes)
    )


class ShapeTable(dict[tuple[str, int], tuple[str, str, str]]):
    """(file or cell, line) -> (code, comment, first real shape), in order of arrival.

    >>> print(ShapeTable({("gpt.py", 7): ("x = f(y)", "(B, T)", "(2, 5)")}))
    where     code      comment  shape
    gpt.py:7  x = f(y)  (B, T)   (2, 5)
    """

    def __str__(self) -> str:
        """Return the table as text, one row for each comment that was reached."""
        rows = [("where", "code", "comment", "shape")]
        rows += [(f"{name}:{line}", *row) for (name, line), row in self.items()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        padded = ["  ".join(map(str.ljust, row, widths)) for row in rows]
        return "\n".join(line.rstrip() for line in padded)


@dataclass
class Letters:
    """The sizes that the letters stand for during one call, and where each was learnt."""

    sizes: dict[str, int] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def bind(self, letter: str, size: int, origin: str) -> None:
        """Let `letter` stand for `size` from here on."""
        self.sizes[letter], self.origins[letter] = size, origin

    def value(self, axis: str) -> int | None:
        """Return the size that `axis` claims; None where a letter of it is still unknown.

        >>> Letters({"C": 12}).value("3*C"), Letters().value("T+1")
        (36, None)
        """
        if axis == "_" or axis in self.sizes:
            return self.sizes.get(axis)
        formula = _compiled(axis)
        if not self.sizes.keys() >= set(formula.co_names):
            return None
        return eval(formula, {"__builtins__": {}}, self.sizes)

    def explain(self, axis: str) -> str:
        """Return what `axis` should be and why, as the end of a sentence."""
        parts = [
            f"{name} = {self.sizes[name]} ({self.origins.get(name, 'given')})"
            for name in dict.fromkeys(LETTER.findall(axis))
        ]
        if axis in self.sizes:
            return f"but {parts[0]}"
        return f"but {axis} = {self.value(axis)}, as {', '.join(parts)}" if parts else f"not {axis}"


@lru_cache(maxsize=1024)
def _compiled(axis: str) -> CodeType:
    # Safe to evaluate: an axis holds only capital letters, integers and + - * //.
    return compile(axis, "shape comment", "eval")


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, an array, a number or a list; of a shape, itself.

    Raises:
        TypeError: If the value has none, or its rows differ in length.

    >>> shape_of([[1, 2, 3], [4, 5, 6]]), shape_of(2.5), shape_of(torch.zeros(4, 1).shape)
    ((2, 3), (), (4, 1))
    """
    if isinstance(value, torch.Size):
        return tuple(value)
    if hasattr(value, "shape"):
        return tuple(value.shape)
    try:
        if isinstance(value, int | float | list | tuple):
            return np.shape(value)
    except ValueError:
        raise TypeError("its rows have different lengths, so it has no shape") from None
    raise TypeError(f"a value of type {type(value).__name__} has no shape")


def judge(claim: Claim, value: Any, letters: Letters, variables: Mapping[str, Any]) -> str:
    """Compare a value with its claim; letters that are used for the first time are learnt.

    Args:
        claim: The comment.
        value: What the line produced; a tuple or list where the claim counts or lists.
        letters: Those of this call; changed here.
        variables: The local ones: an integer that is named like a letter is that letter.

    Returns:
        An empty string, or what is wrong.

    >>> from bhushgpt.shapes.claims import read_comment
    >>> judge(read_comment("(B, T)"), np.zeros((2, 5)), letters := Letters(), {})
    ''
    >>> judge(read_comment("(B, 2*T)"), np.zeros((2, 5)), letters, {})
    'the value is (2, 5): axis 1 is 5, but 2*T = 10, as T = 5 (line 0)'
    """
    for name in claim.letters & variables.keys():
        if type(variables[name]) is int and letters.origins.get(name) != "given":
            letters.bind(name, variables[name], "a variable")
    if not claim.is_list:
        return _compare(claim.shapes[0], value, letters, claim.line)
    values = list(value)
    wanted = letters.value(claim.count) if claim.count else len(claim.shapes)
    if wanted is not None and wanted != len(values):
        return f"there are {len(values)} values, not {wanted}"
    shapes = claim.shapes * len(values) if claim.count else claim.shapes
    wrong = [_compare(s, v, letters, claim.line) for s, v in zip(shapes, values, strict=True)]
    return "; ".join(f"value {i}: {text}" for i, text in enumerate(wrong) if text)


def _compare(axes: tuple[str, ...], value: Any, letters: Letters, line: int) -> str:
    try:
        real = shape_of(value)
    except TypeError as error:
        return str(error)
    if "..." in axes:
        dots, free = axes.index("..."), max(0, len(real) - len(axes) + 1)
        axes = axes[:dots] + ("_",) * free + axes[dots + 1 :]
    if len(axes) != len(real):
        return f"the value is {real}: {len(real)} axes, not {len(axes)}"
    for axis, size in zip(axes, real, strict=True):
        if LETTER.fullmatch(axis) and axis not in letters.sizes:
            letters.bind(axis, size, f"line {line}")
    wrong = [
        f"axis {i} is {size}, {letters.explain(axis)}"
        for i, (axis, size) in enumerate(zip(axes, real, strict=True))
        if letters.value(axis) not in (None, size)
    ]
    return f"the value is {real}: {'; '.join(wrong)}" if wrong else ""
