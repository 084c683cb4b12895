"""What a learner's code did when it was called: a result, a mistake, or nothing yet.

Lesson: notebook 00.
"""

import dis
import inspect
import traceback
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

# A body made of these alone computes nothing: `...`, `pass`, a docstring, `return None`.
EMPTY_BODY = {
    "COPY_FREE_VARS",
    "LOAD_CONST",
    "LOAD_FAST",
    "NOP",
    "POP_TOP",
    "RESUME",
    "RETURN_CONST",
    "RETURN_VALUE",
    "STORE_FAST",
}
LONGEST_MESSAGE = 160  # characters of an error's text that are repeated


class NotAttempted(Exception):
    """The learner's place is still empty: `...`, nothing at all, or NotImplementedError."""


class Stopped(Exception):
    """The learner's own code went wrong; the message is a sentence that says how and where."""


def given(value: Any) -> Any:
    """Return the value, or raise `NotAttempted` if the learner has not filled it in.

    Lesson: notebook 00.

    >>> given(3)
    3
    """
    if value is None or value is ...:
        raise NotAttempted
    return value


class Attempt:
    """The learner's function or class, called in its place by the checks of an exercise.

    Lesson: notebook 00.

    >>> Attempt(lambda x: x + 1)(2)
    3
    >>> Attempt(lambda x: x + "1")(2)
    Traceback (most recent call last):
        ...
    bhushgpt.exercises.attempts.Stopped: your code stopped with TypeError: unsupported operand \
type(s) for +: 'int' and 'str' (line 1 of your cell).
    """

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.answer = answer
        self.codes = list(_codes(answer))
        self.last_call: tuple[tuple[Any, ...], dict[str, Any], Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the answer.

        Raises:
            NotAttempted: If it is still a stub.
            Stopped: If it raises, or computes something and forgets to return it.
        """
        try:
            result = self.answer(*args, **kwargs)
        except Exception as error:
            raise self.verdict(error) from None
        if result is None and any(map(_does_something, self.codes)):
            raise Stopped("your function gives nothing back. End it with `return` and the result.")
        self.last_call = (args, kwargs, given(result))
        return result

    def verdict(self, error: Exception) -> NotAttempted | Stopped:
        """Tell a stub from a mistake, and put the mistake into a sentence."""
        # torch raises NotImplementedError too (no kernel for this dtype): only the learner's own
        # `raise` means an empty place.
        raised_here = any("NotImplementedError" in code.co_names for code in self.codes)
        if isinstance(error, NotAttempted | Stopped):
            return error
        if (isinstance(error, NotImplementedError) and raised_here) or "ellipsis" in str(error):
            return NotAttempted()
        text = " ".join(str(error).split())
        text = text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "..."
        story = f"{type(error).__name__}: {text.rstrip('.')}{self._place(error)}."
        return Stopped(f"your code stopped with {story}")

    def unlike(self, reference: Callable[..., Any]) -> str | None:
        """Return the sentence about a result of another kind than the reference's, or None."""
        if self.last_call is None or inspect.isclass(self.answer):
            return None
        args, kwargs, result = self.last_call
        came, expected = kind(result), kind(reference(*args, **kwargs))
        if came == expected:
            return None
        return f"your function gives back {came}, but {expected} is expected."

    def _place(self, error: Exception) -> str:
        files = {code.co_filename for code in self.codes}
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename in files]
        return f" (line {lines[-1]} of your cell)" if lines else ""


def kind(value: Any) -> str:
    """Return what sort of thing a value is, with its article, and the shape of a tensor.

    Lesson: notebook 00.

    >>> import torch
    >>> kind([1]), kind(2), kind(torch.ones(2, 3))
    ('a list', 'an int', 'a Tensor of shape (2, 3)')
    """
    name = type(value).__name__
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}{shape}"


def _codes(answer: Any) -> Iterator[CodeType]:
    """Yield the code of a function, or of all methods of a class."""
    members = vars(answer).values() if inspect.isclass(answer) else [answer]
    yield from (member.__code__ for member in members if hasattr(member, "__code__"))


def _does_something(code: CodeType) -> bool:
    return any(step.opname not in EMPTY_BODY for step in dis.get_instructions(code))
