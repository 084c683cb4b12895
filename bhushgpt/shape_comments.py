"""What a shape comment claims.

`scores = q @ k.mT  # (B, H, T, T)` claims the shape of the value on its line. In this course such
a comment is a check. This module reads it, `shape_checks` judges it, `shape_tracer` runs it and
`live_shapes` brings it into a notebook.

How to write one, behind an assignment, a `return`, a bare expression, a `for` line or a parameter
on its own line:

- `# (B, T, C)`: an axis is a capital letter (a digit may follow), an integer, a sum or product of
  these (`3*C`, `T+1`, `C//H`), `_` for any size, or `...` for any number of axes.
- `# (T,)` is one axis, `# ()` a single number.
- `# 3 x (B, T, C)` and `# (B, T, V), ()` describe a tuple or list of values.
- Words may follow the shape, but may not come before it.

The letters of the whole package: B batch, T time, C channels, H heads, D head size, V vocabulary.

Lesson: notebook 01.
"""

import io
import re
import tokenize
from dataclasses import dataclass
from functools import cached_property

_ATOM = r"(?:[A-Z]\d?|\d+)"
LETTER = re.compile(r"\b[A-Z]\d?\b")
_AXIS = re.compile(rf"\.\.\.|_|{_ATOM}(?: *(?:\*|\+|-|//) *{_ATOM})*")
_CLAIM = re.compile(r"(?:(\S+) x )?(\([^()]*\)(?:, \([^()]*\))*)")
_GROUP = re.compile(r"(?<!\w)[(\[]([^()\[\]]*)[)\]]")


class DeadComment(ValueError):
    """A comment holds a shape, but written so that nobody can check it."""


@dataclass(frozen=True)
class Claim:
    """One shape comment: its line, its text, and the axes that it names.

    Lesson: notebook 01.
    """

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
