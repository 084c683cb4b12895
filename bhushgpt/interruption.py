"""Ctrl-C that lets the step in progress finish.

Lesson: notebook 16.
"""

import contextlib
import os
import signal
from types import FrameType, TracebackType
from typing import Any

NOTICE = b"\nCtrl-C: finishing this step and saving. Once more stops at once.\n"
ERROR_STREAM = 2


class Interruption:
    """Inside the `with`, the first Ctrl-C sets `requested` and says so; the second stops at once.

    The loop looks at `requested` between steps, saves and leaves. Outside the main thread, where
    Python allows no signal handler, Ctrl-C keeps its usual meaning.

    Lesson: notebook 16.

    >>> with Interruption() as interruption:
    ...     interruption.requested
    False
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> "Interruption":
        try:
            self._before = signal.signal(signal.SIGINT, self._note)
        except ValueError:  # not the main thread
            self._before = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not print: the signal may come in the middle of one, and prints cannot be nested.
        with contextlib.suppress(OSError):
            os.write(ERROR_STREAM, NOTICE)
