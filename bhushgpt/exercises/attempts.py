"""What a learner's code did when it was called: a result, a mistake, or nothing yet.

Lesson: notebook 00.
"""

import _thread
import dis
import inspect
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import numpy as np
import torch

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

    It is given copies of tensors, arrays, lists and dictionaries, so that an answer which changes
    them spoils nothing that its result is compared with. Models are put back into the mode that
    they were in. What was computed in float64 from float32 comes back in float32.

    Args:
        answer: What the learner gave.
        keeps_inputs: Whether an answer that changes what it is given is wrong.
        in_place: Whether the answer is meant to change what it is given: then it gets no copies.

    >>> Attempt(lambda x: x + 1)(2)
    3
    >>> Attempt(lambda x: x + "1")(2)
    Traceback (most recent call last):
        ...
    bhushgpt.exercises.attempts.Stopped: your code stopped with TypeError: unsupported operand \
type(s) for +: 'int' and 'str' (line 1 of your cell).
    """

    def __init__(
        self, answer: Callable[..., Any], *, keeps_inputs: bool = False, in_place: bool = False
    ) -> None:
        self.answer = answer
        self.keeps_inputs = keeps_inputs
        self.in_place = in_place
        self.codes = list(_codes(answer))
        self.last_call: tuple[tuple[Any, ...], dict[str, Any], Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the answer.

        Raises:
            NotAttempted: If it is still a stub.
            Stopped: If it raises or exits, computes something and forgets to return it, leaves a
                model in another mode, or changes what it should not.
        """
        inputs, named = (args, kwargs) if self.in_place else (copied(args), copied(kwargs))
        try:
            with modes_kept([*args, *kwargs.values()]):
                result = as_precise(self.answer(*inputs, **named), [*args, *kwargs.values()])
        except (Exception, SystemExit) as error:
            raise self.verdict(error) from None
        if result is None and any(map(_does_something, self.codes)):
            raise Stopped("your function gives nothing back. End it with `return` and the result.")
        self.last_call = (args, kwargs, given(result))
        if self.keeps_inputs:
            self._check_inputs([*args, *kwargs.values()], [*inputs, *named.values()], [*kwargs])
        return result

    def _check_inputs(self, before: list[Any], after: list[Any], names: list[str]) -> None:
        names = [*inspect.signature(self.answer).parameters][: len(before) - len(names)] + names
        for name, was, now in zip(names, before, after, strict=False):
            if not unchanged(was, now):
                raise Stopped(
                    f"your code changes `{name}`, and whoever gave it still needs it: make "
                    "something new (x = x + 1 instead of x += 1 or x.add_(1), a copy of a list)."
                )

    def verdict(self, error: Exception | SystemExit) -> NotAttempted | Stopped:
        """Tell a stub from a mistake, and put the mistake into a sentence."""
        # torch raises NotImplementedError too (no kernel for this dtype): only the learner's own
        # `raise` means an empty place.
        raised_here = any("NotImplementedError" in code.co_names for code in self.codes)
        if isinstance(error, NotAttempted | Stopped):
            return error
        text = " ".join(str(error).split())
        # einsum speaks of an ellipsis of its own, the one that may stand in its equation.
        dots_left = "ellipsis" in text and "einsum" not in text
        if (isinstance(error, NotImplementedError) and raised_here) or dots_left:
            return NotAttempted()
        text = text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "..."
        story = f"{type(error).__name__}: {text.rstrip('.')}{self._place(error)}."
        return Stopped(f"your code stopped with {story}")

    def unlike(self, reference: Callable[..., Any]) -> str | None:
        """Return the sentence about a result of another kind than the reference's, or None."""
        if self.last_call is None or inspect.isclass(self.answer):
            return None
        args, kwargs, result = self.last_call
        try:
            came, expected = kind(result), kind(reference(*args, **kwargs))
        except Exception:  # what the answer was called with may be gone by now, such as a folder
            return None
        if came == expected:
            return None
        return f"your function gives back {came}, but {expected} is expected."

    def _place(self, error: BaseException) -> str:
        files = {code.co_filename for code in self.codes}
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename in files]
        return f" (line {lines[-1]} of your cell)" if lines else ""


def copied(value: Any) -> Any:
    """Return a copy of tensors, arrays, lists and dictionaries; anything else as it is.

    A tensor that gradients are wanted for stays: its gradient is read where it was made.

    >>> numbers = [1, 2]
    >>> copied((numbers, 3))[0] is numbers, copied((numbers, 3))
    (False, ([1, 2], 3))
    """
    if isinstance(value, torch.Tensor):
        return value if value.requires_grad else value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(copied(each) for each in value)
    return value


def as_precise(result: Any, inputs: Iterable[Any]) -> Any:
    """Return a result with its float64 tensors in float32, if no input was in float64.

    Computing more precisely than asked is right, and torch compares no two precisions.

    >>> as_precise([torch.ones(1, dtype=torch.float64)], [torch.ones(1)])[0].dtype
    torch.float32
    """
    tensors = list(_tensors(inputs))
    if not tensors or any(tensor.dtype == torch.float64 for tensor in tensors):
        return result
    if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
        return result.float()
    if type(result) in (list, tuple):
        return type(result)(as_precise(each, tensors) for each in result)
    return result


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def unchanged(before: Any, after: Any) -> bool:
    """Return whether a copy still holds what it was copied from.

    >>> unchanged(([1, 2], 3), ([1, 2], 3)), unchanged({"a": [1]}, {"a": [1, 2]})
    (True, False)
    """
    if before is after:
        return True
    if isinstance(before, torch.Tensor):
        return before.shape == after.shape and torch.allclose(
            before, after, rtol=0, atol=0, equal_nan=True
        )
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after)
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(
            unchanged(before[key], after[key]) for key in before
        )
    if type(before) in (list, tuple):
        pairs = zip(before, after, strict=False)
        return len(before) == len(after) and all(unchanged(*pair) for pair in pairs)
    return bool(before == after)


@contextmanager
def modes_kept(values: Iterable[Any]) -> Iterator[None]:
    """Inside the `with`, models may be switched between training and evaluation; put them back.

    Raises:
        Stopped: If one was left in another mode than it was found in.

    >>> layer = torch.nn.Dropout()
    >>> with modes_kept([layer, 3]):
    ...     _ = layer.eval().train()
    """
    models = [value for value in values if isinstance(value, torch.nn.Module)]
    before = [(module, module.training) for model in models for module in model.modules()]
    try:
        yield
    finally:
        left = [module for module, training in before if module.training != training]
        for module, training in before:
            module.training = training
    if left:
        now, then = ("eval", "train") if models[0].training else ("train", "eval")
        raise Stopped(
            f"your code leaves the model in {now} mode, and it came in {then} mode: put it back "
            f"with model.{then}() before you return."
        )


@contextmanager
def autograd_watched() -> Iterator[list[str]]:
    """Collect a word for each number that autograd keeps for the way back while the block runs.

    The list stays empty if nothing in the block records operations, whatever its names are.

    >>> import torch
    >>> with autograd_watched() as kept:
    ...     _ = torch.ones(2, requires_grad=True).square()
    >>> kept
    ['Tensor']
    """
    kept: list[str] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(type(tensor).__name__)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Inside the `with`, code that is still running after so many seconds is stopped.

    It stops between two lines of Python, in the main thread, where cells run; elsewhere there is no
    limit.

    Raises:
        Stopped: Saying how long it ran.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if not late.is_set():
            raise
        raise Stopped(
            f"your code was still running after {seconds:g} seconds and was stopped. Is there a "
            "loop that never ends?"
        ) from None
    finally:
        timer.cancel()


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
