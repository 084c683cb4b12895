"""What a check has found: one line for a person, and the next command to type.

Lesson: notebook 12.
"""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Mark = Literal["OK", "look", "broken"]
WIDTH, INDENT = 92, 21  # of a line of the report; a command is never broken
WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


@dataclass(frozen=True)
class Finding:
    """One line of a doctor's report.

    >>> print(Finding("look", "disk", "1.2 GB are free.", "python -m bhushgpt doctor"))
    look    disk         1.2 GB are free.
                         type: python -m bhushgpt doctor
    """

    mark: Mark
    """OK; look: it works, but think about it; broken: it will not work."""
    part: str
    """What was looked at, one word."""
    text: str
    """What was found, in plain words."""
    command: str = ""
    """What to type next, where there is something."""

    def __str__(self) -> str:
        lines: list[str] = []
        for paragraph in self.text.splitlines() or [""]:
            is_command = paragraph.startswith("  ")
            lines += (
                [paragraph] if is_command else textwrap.wrap(paragraph, WIDTH - INDENT, **WORDS)
            )
        lines += [f"type: {self.command}"] if self.command else []
        head = f"{self.mark:<8}{self.part:<13}"
        return head + f"\n{' ' * INDENT}".join(lines)


def total(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each kind.

    >>> total([Finding("OK", "python", "3.12.4"), Finding("broken", "disk", "It is full.")])
    '1 broken, 0 to look at, 1 OK.'
    """
    count = {mark: sum(one.mark == mark for one in findings) for mark in ("broken", "look", "OK")}
    return f"{count['broken']} broken, {count['look']} to look at, {count['OK']} OK."


def without_names(text: str) -> str:
    """Return a message without the home folder in it, which often is a person's name.

    >>> without_names(f"{Path.home() / 'runs' / 'mine'} is whole.")
    '~/runs/mine is whole.'
    >>> print(without_names(f"--run '{Path.home()}/my run'"))
    --run ~/'my run'
    """
    try:
        home = str(Path.home())
    except RuntimeError:  # a user that the system does not know, as in many containers
        return text
    # A home such as / names nobody, and would be found everywhere.
    if len(home) <= len("/root/") - 2:
        return text
    # A shell writes out a "~" before the quotes, not inside them.
    return text.replace(f"'{home}{os.sep}", f"~{os.sep}'").replace(home, "~")


def gigabytes(size: float) -> str:
    """Return a size for people, as disks are sold: powers of ten.

    >>> gigabytes(23_400_000_000), gigabytes(1_500_000)
    ('23.4 GB', '0.002 GB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 5e7 else f"{size / 1e9:,.3f} GB"
