"""Each candidate in a process of its own, all alive together and computing in turn.

What one of them sets for its process (kept memory, the library of float32 products) cannot reach
the others, its peak of memory is its own, and one that fails or is killed takes nobody with it.

loky starts the processes. Its pools share out calls among workers, and a model lives in one
process; so each candidate is a pool of one worker, which keeps its model from call to call.

Lesson: notebook 13.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from loky import BrokenProcessPool, ProcessPoolExecutor

from bhushgpt.bench.jobs import Job
from bhushgpt.bench.peers import peer_work
from bhushgpt.bench.work import Work, our_work, tune_process
from bhushgpt.devices import describe_device, peak_memory, synchronize
from bhushgpt.errors import UserError
from bhushgpt.roofline import Seconds

LEAST_ROUNDS = 3
NO_MEMORY = "The memory is not enough for it."


@dataclass
class Measured:
    """What came out for one job."""

    job: Job
    """What was measured."""
    seconds: list[Seconds] = field(default_factory=list)
    """Of one call, in the order of the rounds."""
    setup_seconds: float | None = None
    """Building, warming up and compiling."""
    peak_bytes: int | None = None
    """The most memory of its process, Python and torch included (on a GPU, of the card)."""
    trouble: str | None = None
    """Why there is no number, in a sentence."""


def measure_together(
    jobs: list[Job],
    *,
    rounds: int = 7,
    budget: float = 60.0,
    progress: Callable[[str], object] = lambda line: None,
) -> list[Measured]:
    """Measure jobs in turn, A B C A B C, and return what came out, in their order.

    Args:
        jobs: All of them are alive at once, so their memory adds up.
        rounds: The most readings of each; at least 3, or `rounds` if that is less.
        budget: Seconds for the readings, after which no further round begins.
        progress: Told in a line what is going on.
    """
    # All processes start at once and load their libraries while the first ones are set up.
    results = {Worker(job): Measured(job) for job in jobs}
    try:
        for worker, result in results.items():
            progress(f"set up {result.job.who}, {result.job.settings}")
            with _noted(result):
                result.setup_seconds = worker.set_up()
        _rounds(results, rounds, budget, progress)
        for worker, result in results.items():
            if result.trouble is None:
                with _noted(result):
                    result.peak_bytes = worker.peak_bytes()
    finally:
        for worker in results:
            worker.close()
    return list(results.values())


def _rounds(
    results: "dict[Worker, Measured]",
    rounds: int,
    budget: float,
    progress: Callable[[str], object],
) -> None:
    calls: dict[Worker, int] = {}
    begin = time.perf_counter()
    for count in range(rounds):
        if count >= LEAST_ROUNDS and time.perf_counter() - begin > budget:
            return
        progress(f"round {count + 1} of at most {rounds}")
        for worker, result in results.items():
            if result.trouble is not None:
                continue
            with _noted(result):
                if worker not in calls:
                    # No reading: the others' set-up has pushed its memory out of the caches, and
                    # may have made the system take pages back. A reading takes 0.2 s at least.
                    calls[worker] = max(1, min(100, round(0.2 / max(worker.seconds(), 1e-6))))
                result.seconds.append(worker.seconds(calls[worker]))


@contextmanager
def _noted(result: Measured) -> Iterator[None]:
    """Inside the `with`, what a job cannot do is noted and the other jobs go on."""
    try:
        yield
    except UserError as error:
        result.trouble = str(error)
        result.seconds.clear()


class Worker:
    """One job in a process of its own; the methods raise a UserError if it cannot be done here.

    Args:
        job: What it computes.
    """

    # loky takes a worker whose memory grows by 300 MB for a leak and replaces it, model and all.
    ENVIRONMENT = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18", "PYTHONWARNINGS": "ignore"}

    def __init__(self, job: Job) -> None:
        self.job = job
        self._pool = ProcessPoolExecutor(
            max_workers=1, initializer=_begin, initargs=(os.getpid(),), env=self.ENVIRONMENT
        )
        self._number = self._pool.submit(os.getpid)  # the first call starts the process

    @property
    def process(self) -> int:
        """The number that the system knows the process by."""
        return self._number.result()

    def set_up(self) -> float:
        """Build the model and call it once, with which compiling comes; return the seconds."""
        return self._ask(_set_up, self.job)

    def seconds(self, calls: int = 1) -> float:
        """Let it compute `calls` times and return the seconds of one."""
        return self._ask(_seconds, calls)

    def peak_bytes(self) -> int:
        """Return the most memory that the process, or its GPU, has held."""
        return self._ask(_peak)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown(kill_workers=True)

    def _ask(self, question: Callable[..., Any], *arguments: object) -> Any:
        try:
            return self._pool.submit(_answer, question, *arguments).result()
        except BrokenProcessPool as error:
            # When the memory is full, the system kills; loky says by which signal in its message.
            raise UserError(
                f"{NO_MEMORY} The system ended the process."
                if "SIGKILL" in str(error)
                else "The process ended by itself."
            ) from error


# From here on, what runs in a worker.

_own: dict[str, Any] = {}  # its job and work, from one call to the next


def _begin(parent: int) -> None:
    """Be silent, since a library's own words are no result, and end with the process that asked."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)

    def watch() -> None:
        try:
            psutil.Process(parent).wait()
        except psutil.Error:
            pass  # it is gone already
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _answer(question: Callable[..., Any], *arguments: object) -> Any:
    """Call a function; whatever goes wrong becomes a sentence, which can always be sent back."""
    try:
        return question(*arguments)
    except Exception as error:
        raise UserError(_sentence(error)) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    full = (torch.OutOfMemoryError, MemoryError)
    if isinstance(error, full) or "DefaultCPUAllocator" in str(error):
        return NO_MEMORY
    return f"It failed ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]})."


def _set_up(job: Job) -> float:
    begin = time.perf_counter()
    _check_number(job)
    tune_process(job)
    work = our_work(job) if job.who == "bhushgpt" else peer_work(job)
    work()
    synchronize(job.device)
    _own.update(job=job, work=work)
    return time.perf_counter() - begin


def _check_number(job: Job) -> None:
    able = describe_device(job.device).dtypes
    if job.precision != "int8" and job.precision not in able:
        raise UserError(
            f"This device cannot compute with {job.precision}; it can with {', '.join(able)}."
        )


def _seconds(calls: int) -> float:
    work: Work = _own["work"]
    begin = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(_own["job"].device)
    return (time.perf_counter() - begin) / calls


def _peak() -> int:
    if (on_card := peak_memory(_own["job"].device)) is not None:
        return on_card
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; its getrusage begins with the peak of the process that asked
        peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        return int(peak[1]) * 1024 if peak else 0
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
