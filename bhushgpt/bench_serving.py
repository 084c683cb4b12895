"""The other end of a worker: a process that computes one job when it is asked to.

Lesson: notebook 16.
"""

import json
import sys
import time
from typing import Any

import torch

from bhushgpt.bench_jobs import Job
from bhushgpt.bench_peers import peer_work
from bhushgpt.bench_work import our_work, tune_process
from bhushgpt.devices import describe_device, synchronize
from bhushgpt.errors import UserError

MARK = "@bench "  # what a library prints by itself is no answer
NO_MEMORY = "The memory is not enough for it."


def serve() -> None:
    """Be a worker: read a job from standard input, then questions, and answer each in a line.

    Lesson: notebook 16.
    """
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
