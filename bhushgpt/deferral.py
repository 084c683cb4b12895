"""Ctrl-C that waits until a change is complete.

Python raises KeyboardInterrupt between any two operations. In the middle of an optimizer's step it
would leave weights that belong to no step: some moved, some not. The notebook's stop button must
not do that, so the few lines that change the state are run to their end first.

Lesson: notebook 05.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Let Ctrl-C, or the notebook's stop button, wait until the end of the `with`.

    Outside the main thread, where Python never interrupts, it does nothing.

    Lesson: notebook 05.

    >>> done = []
    >>> try:
    ...     with interrupt_deferred():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("the change")
    ... except KeyboardInterrupt:
    ...     print(done, "and then the interrupt")
    ['the change'] and then the interrupt
    """
    came: list[FrameType | None] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        # None: a handler that Python did not set and so cannot put back.
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if came and callable(before):
            before(signal.SIGINT, came[0])
