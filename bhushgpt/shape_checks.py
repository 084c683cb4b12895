"""Whether a shape comment is true of a value.

A letter has one meaning during a call: its first use in a comment gives it a size, and every later
use must agree.

Lesson: notebook 01.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np
import torch

from bhushgpt.shape_comments import LETTER, Claim


class ShapeCommentError(AssertionError):
    """A shape comment is not true; the message says where, what it claims and what is there."""


class ShapeTable(dict[tuple[str, int], tuple[str, str, str]]):
    """(file or cell, line) -> (code, comment, first real shape), in order of arrival.

    >>> print(ShapeTable({("gpt.py", 7): ("x = f(y)", "(B, T)", "(2, 5)")}))
    where     code      comment  shape
    gpt.py:7  x = f(y)  (B, T)   (2, 5)

    Lesson: notebook 01.
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

    >>> from bhushgpt.shape_comments import read_comment
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
