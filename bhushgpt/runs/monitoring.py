"""What is seen of a run while it trains: a line for every step, and a glance now and then.

`RunLog` writes each step's report, its speed, and what share of the machine that is; `Board` the
same for TensorBoard, which is optional. `Glances` predicts a part of the held-out text and draws a
sample, ten times in a run.

Lesson: notebook 17.
"""

import dataclasses
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch

from bhushgpt.environment import python_command
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate, windows_at_once
from bhushgpt.generation import Sampling, complete_text
from bhushgpt.language_model import LanguageModel
from bhushgpt.roofline import matmul_limit
from bhushgpt.runs.folder import RunFolder, RunOptions
from bhushgpt.runs.interruption import Interruption, Stopped
from bhushgpt.runs.training_text import Text
from bhushgpt.speed import Precision, World, autocast
from bhushgpt.training import Report

FOLDER = "tensorboard"
# What TensorBoard groups by is before the slash.
NAMES = {
    "loss": "loss/training",
    "held_out": "loss/held out",
    "learning_rate": "step/learning rate",
    "grad_norm": "step/gradient norm",
    "tokens_per_second": "speed/tokens per second",
    "mfu": "speed/share of the matmul limit",
}


class Board:
    """Writes a run's lines into its folder `tensorboard`.

    Args:
        folder: The run's folder.
        step: The step that the run goes on from; what was written after it is left out then.

    Raises:
        UserError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "--tensorboard needs the package tensorboard, which is not installed. Leave the "
                "flag out, since history.jsonl holds the same numbers; or install it:\n  "
                + python_command("-m", "pip", "install", "tensorboard")
            ) from error
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=step + 1)

    def add(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of a line of the history."""
        for key, name in NAMES.items():
            if key in line:
                self._writer.add_scalar(name, line[key], line["step"])

    def add_text(self, step: int, text: str) -> None:
        """Write what the model wrote after a step, as it stands."""
        self._writer.add_text("sample", "    " + text.replace("\n", "\n    "), step)

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()


# Large enough for a processor's full speed, and measured in a moment.
SIZES = {"cpu": (1024,), "cuda": (4096, 8192), "mps": (2048,)}


class RunLog:
    """Writes the history of a run, a line for each step, and the same for TensorBoard if asked.

    Args:
        run: Whose history it is.
        weights: What a step works on, those that are not trained counted two thirds; it computes
            about 6 times as many operations for each token (Kaplan et al., arXiv 2001.08361),
            attention between tokens not counted.
        limit: FLOP/s that the machine can do; None where that is unknown.
        board: For TensorBoard.
        writes: Whether anything is written: under torchrun, by the main process alone.
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

    >>> (machine_limit("cpu", "float32") or 0) > 1e8
    True
    """
    try:
        return matmul_limit(kind, getattr(torch, precision), sizes=SIZES[kind], repeats=3)
    except UserError:
        return None


# About so often in a run: enough to see the trend, cheap enough to repeat.
GLANCES = 10
GLANCE_TOKENS = 8192
SAMPLE_TOKENS = 64


def usual_interval(steps: int) -> int:
    """Return the steps from one glance, or checkpoint, to the next.

    >>> usual_interval(1500), usual_interval(40)
    (150, 25)
    """
    return max(25, steps // GLANCES)


class Glances:
    """A part of the held-out text predicted, and a sample drawn, ten times in a run.

    Nothing of it changes training. What it costs is small, but on a slow machine it can be seconds,
    so a signal that asks to stop ends a glance at once.

    Args:
        model: The model being trained.
        text: Where the held-out part is.
        log: Where it is written.
        steps: Of the whole run.
        options: How the model computes.
        world: Who takes part.
        history: Of the run so far.

    Attributes:
        best: (nats, step) of the lowest glance so far.
    """

    def __init__(
        self,
        model: LanguageModel,
        text: Text,
        log: RunLog,
        steps: int,
        options: RunOptions,
        world: World,
        history: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.model = model
        self.text = text
        self.log = log
        self.steps = steps
        self.precision: Precision = cast(Precision, options.precision)  # no longer auto
        self.world = world
        self.sharded = options.strategy == "fsdp" and world.size > 1
        seen = [(line["held_out"], line["step"]) for line in history if "held_out" in line]
        self.best: tuple[float, int] | None = min(seen, default=None)

    def look(self, line: dict[str, Any], interruption: Interruption) -> bool:
        """Add `held_out` to the line of a step if a glance is due; return whether it is the best.

        A signal that comes meanwhile leaves the line as it is.
        """
        step = line["step"]
        if step % usual_interval(self.steps) and step != self.steps:
            return False
        if not self.sharded and not self.world.is_main:
            return False
        try:
            # Uncompiled: a few calls of many lengths are not worth the time of compiling.
            eager = torch.compiler.set_stance("force_eager")
            with eager, autocast(self.world.device, self.precision):
                line["held_out"] = self._held_out(interruption)
                if not self.sharded:
                    self._sample(step, interruption)
        except Stopped:
            return False
        if self.best is None or line["held_out"] < self.best[0]:
            self.best = (line["held_out"], step)
            return True
        return False

    def _held_out(self, interruption: Interruption) -> float:
        tokens = self.text.held_out[:GLANCE_TOKENS]
        rows = windows_at_once(self.model.context_length, self.text.tokenizer.vocab_size)
        if self.sharded:  # all processes compute it together: none may leave
            return evaluate(self.model, tokens, batch_size=rows).nats_per_token
        with interruption.at_once():
            return evaluate(self.model, tokens, batch_size=rows).nats_per_token

    def _sample(self, step: int, interruption: Interruption) -> None:
        prompt = self.text.prompt
        sampling = Sampling(temperature=0.8, seed=1)
        with interruption.at_once():
            pieces = complete_text(self.model, self.text.tokenizer, prompt, SAMPLE_TOKENS, sampling)
            self.log.add_sample(step, prompt, "".join(pieces))
