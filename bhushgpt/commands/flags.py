"""The kinds of values that flags take, each with the sentence that a wrong one gets.

Lesson: notebook 17.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg
from tyro.constructors import PrimitiveConstructorSpec

from bhushgpt.environment import written_out
from bhushgpt.errors import UserError

# A word that is typed or not, such as --quick; without tyro's --no-quick for what is off anyway.
Flag = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]
Device = Literal["auto", "cpu", "cuda", "mps"]


def whole_number(text: str) -> int:
    """Return the number that was typed.

    Raises:
        UserError: If it is none.

    >>> whole_number("2.5")
    Traceback (most recent call last):
    bhushgpt.errors.UserError: '2.5' is not a whole number. Type digits alone, such as 200.
    """
    try:
        return int(text)
    except ValueError:
        raise UserError(
            f"{text!r} is not a whole number. Type digits alone, such as 200."
        ) from None


def decimal(text: str) -> float:
    """Return the number that was typed.

    Raises:
        UserError: If it is none.

    >>> decimal("0,8")
    Traceback (most recent call last):
    bhushgpt.errors.UserError: '0,8' is not a number. Type it with a point, such as 0.8.
    """
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{text!r} is not a number. Type it with a point, such as 0.8.") from None


def folder(text: str) -> Path:
    """Return the folder that was typed; `~` is the home folder, also after `--out=`.

    Raises:
        UserError: If nothing was typed, or there is no such home folder.
    """
    if not text.strip():
        raise UserError("The folder's name is empty. Type one, such as runs/mine.")
    return written_out(text)


def corpus(text: str) -> str:
    """Return the name or file that was typed, `~` written out.

    Raises:
        UserError: If nothing was typed, or there is no such home folder.
    """
    if not text.strip():
        raise UserError("The corpus has no name. Type one, such as sherlock, or a text file.")
    return str(folder(text)) if text.startswith("~") else text


def switch(words: list[str]) -> bool:
    """Return whether a switch is on: the flag alone, or with the word on or off.

    Raises:
        UserError: If it is another word.

    >>> switch([]), switch(["off"])
    (True, False)
    """
    if len(words) > 1 or (words and words[0] not in ("on", "off")):
        raise UserError(f"{' '.join(words)!r} is neither on nor off. The flag alone means on.")
    return words != ["off"]


def _kind(metavar: str, read: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    """Tell tyro how to read one word; left alone it speaks of types that a learner never met."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def one_of(*words: str) -> PrimitiveConstructorSpec[Any]:
    """Return the kind of a flag that takes one of these words, or is left out.

    `Literal[...] | None` would do, if its help did not offer the word None.
    """
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(words) + "}",
        instance_from_str=lambda typed: typed[0],
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
        choices=words,
    )


WHOLE, DECIMAL = _kind("N", whole_number), _kind("X", decimal)
FOLDER, CORPUS = _kind("DIR", folder), _kind("NAME|FILE|DIR", corpus)
RESUME = _kind("auto|DIR", lambda text: text if text == "auto" else str(folder(text)))
SWITCH: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs="*",
    metavar="[on|off]",
    instance_from_str=switch,
    is_instance=lambda value: True,
    str_from_instance=lambda value: ["on" if value else "off"],
)
