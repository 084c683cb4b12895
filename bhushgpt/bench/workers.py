"""Each candidate in a process of its own, all alive together and computing in turn.

What one of them sets for its process (kept memory, the library of float32 products) cannot reach
the others, its peak of memory is its own, and one that fails takes nobody with it. Parent and
worker talk in lines of JSON.

The other end of a worker: a process that computes one job when it is asked to.

Lesson: notebook 13.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from bhushgpt.bench.jobs import Job
from bhushgpt.bench.work import our_work, peer_work, tune_process
from bhushgpt.devices import describe_device, synchronize
from bhushgpt.errors import UserError

MARK = "@bench "  # what a library prints by itself is no answer
NO_MEMORY = "The memory is not enough for it."


def serve() -> None:
    """Be a worker: read a job from standard input, then questions, and answer each in a line."""
    job = Job(**json.loads(sys.stdin.readline()))
    device = torch.device(job.device)
    try:
        begin = time.perf_counter()
        _check_number(job)
        tune_process(job)
        work = our_work(job) if job.who == "bhushgpt" else peer_work(job)
        work()
        synchronize(device)
        _answer(seconds=time.perf_counter() - begin)
        for line in sys.stdin:
            question = json.loads(line)
            if "peak" in question:
                _answer(bytes=_peak(device))
                continue
            begin = time.perf_counter()
            for _ in range(question["calls"]):
                work()
            synchronize(device)
            _answer(seconds=(time.perf_counter() - begin) / question["calls"])
    except Exception as error:
        _answer(trouble=_sentence(error))


def _check_number(job: Job) -> None:
    able = describe_device(job.device).dtypes
    if job.precision != "int8" and job.precision not in able:
        raise UserError(
            f"This device cannot compute with {job.precision}; it can with {', '.join(able)}."
        )


def _answer(**values: Any) -> None:
    print(MARK + json.dumps(values), flush=True)


def _sentence(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    full = (torch.OutOfMemoryError, MemoryError)
    if isinstance(error, full) or "DefaultCPUAllocator" in str(error):
        return NO_MEMORY
    return f"It failed ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]})."


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset  # type: ignore[attr-defined]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


START = "from bhushgpt.bench.workers import serve; serve()"
LEAST_ROUNDS = 3


class Worker:
    """One job in a process of its own; the methods raise a UserError if it cannot be done here.

    Args:
        job: What it computes.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    def set_up(self) -> float:
        """Build the model and call it once, with which compiling comes; return the seconds."""
        return self._ask(self.job.to_dict())["seconds"]

    def seconds(self, calls: int = 1) -> float:
        """Let it compute `calls` times and return the seconds of one."""
        return self._ask({"calls": calls})["seconds"]

    def peak_bytes(self) -> int:
        """Return the most memory that the process, or its GPU, has held."""
        return self._ask({"peak": True})["bytes"]

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise UserError(_ended(self.process)) from None
        for line in self.process.stdout:
            if line.startswith(MARK):
                answer = json.loads(line.removeprefix(MARK))
                if "trouble" in answer:
                    raise UserError(answer["trouble"])
                return answer
        raise UserError(_ended(self.process))


def _ended(process: subprocess.Popen[str]) -> str:
    """Say why a process is gone; the system kills with signal 9 when the memory is full."""
    if process.wait() == -9:
        return f"{NO_MEMORY} The system ended the process."
    return f"The process ended by itself (exit status {process.returncode})."


@dataclass
class Measured:
    """What came out for one job."""

    job: Job
    """What was measured."""
    seconds: list[float] = field(default_factory=list)
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
    results: dict[Worker, Measured],
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


class _noted:
    """Inside the `with`, what a job cannot do is noted and the other jobs go on."""

    def __init__(self, result: Measured) -> None:
        self.result = result

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, UserError):
            self.result.trouble = str(error)
            self.result.seconds.clear()
        return isinstance(error, UserError)
