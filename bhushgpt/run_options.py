"""How a run is computed and saved: all that may be changed when it goes on.

What decides the numbers, sizes and rates and steps, is in `RunConfig` and stays as it was.

Lesson: notebook 16.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bhushgpt.acceleration import Compiling
from bhushgpt.errors import UserError
from bhushgpt.parallel import Strategy


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a run that its result does not depend on, but for rounding.

    Raises:
        UserError: If an option cannot be used; one message names all of them.

    Lesson: notebook 16.

    >>> RunOptions(save_every=0, keep=0)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: These options cannot be used: --save-every is 0, it must be at \
least 1 step; --keep is 0, it must be at least 1 checkpoint.
    """

    precision: str = "auto"
    """The type that matrix products are computed in; auto is what helps on the device."""
    compile: Compiling = "auto"
    """Whether the model is compiled first; auto where that helps."""
    strategy: Strategy = "ddp"
    """How several processes share the work: ddp, each the whole model; fsdp, each a part of it."""
    quick_products: bool | None = None
    """Whether a CPU multiplies float32 matrices the quicker way; settled once, by measuring, since
    it changes the last digits."""
    save_every: int | None = None
    """Steps between two checkpoints; ten in a run if left out."""
    keep: int = 2
    """How many of the newest checkpoints stay; `best` and `last` always do."""
    tensorboard: bool = False
    """Whether the history is also written for TensorBoard."""

    def __post_init__(self) -> None:
        wrong = []
        if self.save_every is not None and self.save_every < 1:
            wrong.append(f"--save-every is {self.save_every}, it must be at least 1 step")
        if self.keep < 1:
            wrong.append(f"--keep is {self.keep}, it must be at least 1 checkpoint")
        if wrong:
            raise UserError("These options cannot be used: " + "; ".join(wrong) + ".")


def stored_options(record: Mapping[str, Any]) -> RunOptions:
    """Return the options that a run's record holds; what it does not say is as usual.

    Lesson: notebook 16.

    >>> stored_options({"options": {"keep": 5, "of a later version": 1}}).keep
    5
    """
    usual = dataclasses.asdict(RunOptions())
    found = record.get("options")
    known: dict[str, Any] = {
        name: value
        for name, value in (found.items() if isinstance(found, dict) else ())
        if name in usual
        and ((value is None and usual[name] is None) or _same_kind(name, value, usual[name]))
    }
    return RunOptions(**known)


def changed_options(options: RunOptions, asked: Mapping[str, Any]) -> RunOptions:
    """Return the options with those that were asked for (not None) in their place.

    Lesson: notebook 16.

    >>> changed_options(RunOptions(), {"keep": 3, "precision": None}).keep
    3
    """
    return dataclasses.replace(options, **{k: v for k, v in asked.items() if v is not None})


def option_changes(before: RunOptions, after: RunOptions) -> list[str]:
    """Return a piece of a sentence for each option that differs.

    Lesson: notebook 16.

    >>> option_changes(RunOptions(compile="off"), RunOptions(save_every=10, compile="on"))
    ['--compile is on (it was off)', '--save-every is 10 (it was left open)']
    """
    old, new = dataclasses.asdict(before), dataclasses.asdict(after)
    return [
        f"--{name.replace('_', '-')} is {_in_words(new[name])} (it was {_in_words(old[name])})"
        for name in new
        if new[name] != old[name] and old[name] != "auto" and name != "quick_products"
    ]


def _same_kind(name: str, value: object, usual: object) -> bool:
    kinds = {"save_every": int, "quick_products": bool}
    return type(value) is kinds.get(name, type(usual))


def _in_words(value: object) -> str:
    if value is None:
        return "left open"
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
