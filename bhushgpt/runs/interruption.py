"""Being asked to stop: what is under way is finished and saved first.

Ctrl-C sends SIGINT. A cluster that wants its machine back, `kill` and torchrun send SIGTERM some
seconds before they kill for good. A terminal that is closed sends SIGHUP.

Lesson: notebook 17.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

NOTICES = {
    "SIGINT": b"\nCtrl-C: finishing this step and saving. Once more stops at once.\n",
    "SIGTERM": b"\nAsked to end (SIGTERM): finishing this step and saving.\n",
    "SIGHUP": b"\nThe terminal was closed (SIGHUP): finishing this step and saving.\n",
}
ERROR_STREAM = 2


class Stopped(KeyboardInterrupt):
    """Leaving because a signal asked for it.

    Attributes:
        status: What the program ends with, as shells count it: 128 and the signal's number.

    >>> Stopped(signal.SIGINT).status, Stopped(signal.SIGTERM).status
    (130, 143)
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


class Interruption:
    """Inside the `with`, a signal that asks to stop raises `Stopped`, or waits where it must.

    Inside `deferred()` the first signal only sets `requested` and says so; the caller looks at it
    when its work is whole. A second Ctrl-C stops at once, wherever it comes. Outside the main
    thread, where Python allows no signal handler, signals keep their usual meaning.

    Attributes:
        requested: Whether a signal came.

    >>> with Interruption() as interruption:
    ...     with interruption.deferred():
    ...         print(interruption.requested)
    False
    """

    def __init__(self) -> None:
        self.requested = False
        self._number = int(signal.SIGINT)
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        for name in NOTICES:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            # `nohup` ignores SIGHUP, so that a run outlives its terminal: leave it so.
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue
            with contextlib.suppress(ValueError):  # not the main thread
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            # None: a handler that Python did not set and so cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a first signal wait; after the `with`, or in it, look at `requested`."""
        before, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits = before

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise `Stopped` inside the `with` even if the caller defers: nothing is lost here."""
        before, self._waits = self._waits, False
        try:
            self.check()
            yield
        finally:
            self._waits = before

    def check(self) -> None:
        """Raise `Stopped` if a signal came."""
        if self.requested:
            raise Stopped(self._number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            # torchrun repeats its SIGTERM; only a person at the keyboard is impatient.
            if number == signal.SIGINT:
                raise Stopped(number)
            return
        self.requested, self._number = True, number
        if not self._waits:
            raise Stopped(number)
        # Not print: the signal may come in the middle of one, and prints cannot be nested.
        with contextlib.suppress(OSError):
            os.write(ERROR_STREAM, NOTICES[signal.Signals(number).name])
