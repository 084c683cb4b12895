"""Exercises that answer back: right, not yet and why, or not attempted.

Lesson: notebook 00.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bhushgpt.exercises.attempts import (
    Attempt,
    NotAttempted,
    Stopped,
    copied,
    given,
    kind,
    time_limit,
)
from bhushgpt.exercises.passport import record
from bhushgpt.exercises.same_numbers import same

Status = Literal["right", "not yet", "not attempted"]
LONGEST = 295  # characters of a message; what a learner's code gave may be long
TIME_LIMIT = 60.0  # seconds; right answers take less than 5, and a machine may be busy
LEADS: dict[Status, str] = {
    "right": "Right",
    "not yet": "Not yet",
    "not attempted": "Not attempted yet",
}


@dataclass(frozen=True)
class Outcome:
    """What came out of a check: its status and the sentence that explains it."""

    status: Status
    message: str

    def __str__(self) -> str:
        return f"{LEADS[self.status]}: {self.message}"


def shortened(message: str) -> str:
    """Return a message that is no longer than `LONGEST`, on one line.

    >>> shortened("yours is 7."), len(shortened("7, " * 1000))
    ('yours is 7.', 295)
    """
    line = " ".join(message.split()) if "\n" in message else message
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


@dataclass(frozen=True, kw_only=True)
class Question:
    """What every exercise has: a question, hints, and the memory of how many were shown.

    Use `Exercise` for an answer that is a function or class, `ValueExercise` for any other.
    """

    name: str
    """The variable's own name, for the texts that tell what to type."""
    question: str
    """The task in one sentence."""
    hints: tuple[str, ...]
    """From a nudge to nearly the answer."""
    praise: str = "all checks passed."
    """What a right answer has shown."""
    _shown: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def check(self, answer: object) -> None:
        """Print one line: `Right`, `Not yet` and the mistake, or `Not attempted yet`.

        The learner's passport keeps the first two; a second line is printed where it cannot.
        """
        outcome = self.judge(answer)
        print(outcome)
        if outcome.status != "not attempted" and (notice := record(self, outcome.status)):
            print(notice)

    def judge(self, answer: object) -> Outcome:
        """Return what `check` prints, without keeping it.

        The global random numbers of torch are left untouched.
        """
        try:
            with torch.random.fork_rng(devices=[]), time_limit(TIME_LIMIT):
                torch.default_generator.manual_seed(0)  # the CPU's alone, which is put back
                mistake = self._mistake(given(answer))
        except Stopped as sentence:
            mistake = str(sentence)
        except NotAttempted:
            return Outcome("not attempted", f"{self.task} ({self.name}.hint() helps.)")
        return Outcome("not yet", shortened(mistake)) if mistake else Outcome("right", self.praise)

    @property
    def task(self) -> str:
        """The question, and what else must hold."""
        return self.question

    def hint(self) -> None:
        """Print the next hint; after the last one they start again."""
        number = len(self._shown) % len(self.hints)
        self._shown.append(self.hints[number])
        print(f"Hint {number + 1} of {len(self.hints)}: {self.hints[number]}")

    def solution(self) -> None:
        """Print an answer that passes."""
        raise NotImplementedError

    def _mistake(self, answer: Any) -> str | None:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Exercise(Question):
    """An exercise whose answer is a function or a class.

    `checks(answer)` calls the answer and returns None when it is right, or the sentence that
    names the mistake. An answer that stops with an error, returns nothing, or returns another
    type than the reference is told so in a sentence; the checks need not expect it.

    Lesson: notebook 00.

    >>> def doubled(x): return 2 * x
    >>> def checks(answer): return None if answer(3) == 6 else f"twice 3 is 6, not {answer(3)}."
    >>> double = Exercise(name="double", question="Return twice the number.",
    ...                   hints=("Use *.",), reference=doubled, checks=checks)
    >>> double.check(lambda x: 2 * x)
    Right: all checks passed.
    >>> double.check(lambda x: x**2)
    Not yet: twice 3 is 6, not 9.
    >>> double.check(lambda x: ...)
    Not attempted yet: Return twice the number. (double.hint() helps.)
    >>> double.check(lambda x: x / (x - 3))
    Not yet: your code stopped with ZeroDivisionError: division by zero (line 1 of your cell).
    """

    reference: Callable[..., Any]
    checks: Callable[[Callable[..., Any]], str | None]
    keeps_inputs: bool = False
    """Whether an answer that changes what it is given is wrong; its question says so then."""
    in_place: bool = False
    """Whether the answer is meant to change what it is given; otherwise it gets copies."""
    axes_of_one: Callable[[], Iterable[tuple[Any, ...]]] | None = None
    """Gives the arguments of calls in which an axis has size one: one text, place or channel.

    When the checks have found nothing, the answer must give there what the reference gives. So an
    answer that loses such an axis with `squeeze()` is told so.
    """

    @property
    def task(self) -> str:
        """The question, and what else must hold."""
        kept = " What it is given stays as it was." if self.keeps_inputs else ""
        return f"{self.question}{kept}"

    def solution(self) -> None:
        """Print the source of the reference."""
        print(textwrap.dedent(inspect.getsource(self.reference)).rstrip())

    def _mistake(self, answer: Any) -> str | None:
        if not callable(answer):
            wanted = "class" if inspect.isclass(self.reference) else "function"
            return f"give check() your {wanted} itself, without brackets; {kind(answer)} came."
        attempt = Attempt(answer, keeps_inputs=self.keeps_inputs, in_place=self.in_place)
        try:
            return self.checks(attempt) or self._lost_axis(attempt)
        except Stopped as sentence:
            return str(sentence)
        except NotAttempted:
            raise
        except (Exception, SystemExit) as error:
            # The check stumbled over what came back, or a method of a class answer raised.
            verdict = attempt.verdict(error)
            if isinstance(verdict, NotAttempted):
                raise verdict from None
            return attempt.unlike(self.reference) or str(verdict)

    def _lost_axis(self, attempt: Attempt) -> str | None:
        """Return what is wrong where an axis has size one, which `checks` need not try."""
        for arguments in self.axes_of_one() if self.axes_of_one else ():
            right = self.reference(*copied(arguments))
            several = isinstance(right, tuple | list)
            expected = list(_tensors(right, several))
            try:
                came = list(_tensors(attempt(*arguments), several))
            except Stopped as sentence:
                raise Stopped(f"where an axis has size 1, {sentence}") from None
            for one, right in zip(came, expected, strict=True):
                if one.shape != right.shape:
                    return (
                        f"where an axis has size 1, the shape {tuple(one.shape)} came, and "
                        f"{tuple(right.shape)} is right: such an axis is an axis, too, and "
                        "squeeze() without a dim takes all of them away."
                    )
                if not same(one, right):
                    return (
                        "right for other sizes, but where an axis has size 1 other numbers are "
                        f"right: the shape is {tuple(right.shape)} there."
                    )
        return None


def _tensors(result: Any, several: bool) -> Iterator[Tensor]:
    """Yield what came as tensors: arrays and lists of numbers count, too."""
    for part in result if several else (result,):
        yield part if isinstance(part, Tensor) else torch.tensor(np.asarray(part))


@dataclass(frozen=True, kw_only=True)
class ValueExercise(Question):
    """An exercise whose answer is a number, a text, a list or a choice.

    `checks(answer)` returns None when it is right, or the sentence that names the mistake.

    Lesson: notebook 00.

    >>> sides = ValueExercise(name="sides", question="How many sides has a die?", hints=("Count.",),
    ...     reference=6, checks=lambda answer: None if answer == 6 else "it is a cube.")
    >>> sides.check(6)
    Right: all checks passed.
    >>> sides.check(4)
    Not yet: it is a cube.
    >>> sides.check(...)
    Not attempted yet: How many sides has a die? (sides.hint() helps.)
    """

    reference: Any
    checks: Callable[[Any], str | None]
    why: str = ""
    """The reason, printed with the solution."""

    def solution(self) -> None:
        """Print the answer and the reason."""
        print(f"{self.reference!r}. {self.why}".rstrip(". ") + ".")

    def _mistake(self, answer: Any) -> str | None:
        try:
            return self.checks(answer)
        except (Exception, SystemExit):
            return f"{kind(self.reference)} is expected, but {kind(answer)} came: {answer!r}."


# A letter alone, with what people write around it, or in front of the words of its choice.
_LETTER = re.compile(r"[\s('\"\[]*([a-z])(?:[\s.,:;)'\"\]]*|[.:)]\s.*)", re.DOTALL)


def choices(right: str, wrong: dict[str, str]) -> Callable[[Any], str | None]:
    """Return the checks of a multiple choice: each wrong letter has its own explanation.

    Lesson: notebook 00.

    >>> checks = choices("b", {"a": "that is the input."})
    >>> checks("b"), checks("a"), checks("z")
    (None, 'that is the input.', "choose one of 'a', 'b', not 'z'.")
    >>> checks(" B) "), checks("(b)."), checks("b) the output")  # as the question writes them
    (None, None, None)
    """

    def checks(answer: Any) -> str | None:
        options = ", ".join(repr(letter) for letter in sorted({right, *wrong}))
        letter = answer.strip().lower() if isinstance(answer, str) else answer
        if isinstance(letter, str) and (written := _LETTER.fullmatch(letter)):
            letter = written[1]
        unknown = f"choose one of {options}, not {answer!r}."
        return None if letter == right else wrong.get(letter, unknown)

    return checks
