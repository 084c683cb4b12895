"""What is written down after every step: the report, the speed, and how much of the machine it is.

Lesson: notebook 16.
"""

import dataclasses
import time
from functools import lru_cache
from typing import Any

import torch

from bhushgpt.errors import UserError
from bhushgpt.roofline import matmul_limit
from bhushgpt.runs import RunFolder
from bhushgpt.tensorboards import Board
from bhushgpt.training import Report

# Large enough for a processor's full speed, and measured in a moment.
SIZES = {"cpu": (1024,), "cuda": (4096, 8192), "mps": (2048,)}


class RunLog:
    """Writes the history of a run, a line for each step, and the same for TensorBoard if asked.

    Args:
        run: Whose history it is.
        weights: Numbers that are trained; a step computes about 6 times as many operations for
            each token (Kaplan et al., arXiv 2001.08361), attention between tokens not counted.
        limit: FLOP/s that the machine can do; None where that is unknown.
        board: For TensorBoard.
        writes: Whether anything is written: under torchrun, by the main process alone.

    Lesson: notebook 16.
    """

    def __init__(
        self,
        run: RunFolder,
        weights: int,
        limit: float | None = None,
        board: Board | None = None,
        *,
        writes: bool = True,
    ) -> None:
        self.run = run
        self.flops_per_token = 6 * weights
        self.limit = limit
        self.board = board
        self.writes = writes
        self.start()

    def start(self) -> None:
        """Start the clock of the next step; glances and checkpoints before it are not training."""
        self._begin = time.perf_counter()

    def line(self, report: Report) -> dict[str, Any]:
        """Return what is to be logged of the step that ends now."""
        seconds = time.perf_counter() - self._begin
        speed = report.tokens / seconds
        line = dataclasses.asdict(report) | {"seconds": seconds, "tokens_per_second": speed}
        if self.limit:
            line["mfu"] = speed * self.flops_per_token / self.limit
        return line

    def write(self, line: dict[str, Any]) -> None:
        """Write a line down."""
        if self.writes:
            self.run.log(line)
        if self.board:
            self.board.add(line)

    def add_sample(self, step: int, prompt: str, text: str) -> None:
        """Write down what the model wrote after a step."""
        if self.writes:
            self.run.add_sample(step, prompt, text)
        if self.board:
            self.board.add_text(step, prompt + text)

    def close(self) -> None:
        """Finish what TensorBoard reads."""
        if self.board:
            self.board.close()


@lru_cache
def machine_limit(kind: str, precision: str) -> float | None:
    """Return the FLOP/s of large matrix products on a kind of device, measured once a process.

    Returns None where the device cannot multiply such numbers.

    Lesson: notebook 16.

    >>> (machine_limit("cpu", "float32") or 0) > 1e8
    True
    """
    try:
        return matmul_limit(kind, getattr(torch, precision), sizes=SIZES[kind], repeats=3)
    except UserError:
        return None
