"""A run that trains: text, settings, model, checkpoints and record, held together.

`Session.train` is the loop of notebook 05 with what a long run needs around it: a log of each step,
glances at the held-out text, and checkpoints, each written before the record says that it is there.

Lesson: notebook 17.
"""

import sys
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from bhushgpt.batches import Batches
from bhushgpt.cpu_settings import threads_for
from bhushgpt.diagnosis import SpikeDetector, explain_non_finite, memory_explained
from bhushgpt.evaluation import Evaluation, evaluate, windows_at_once
from bhushgpt.files import NoRoom, one_writer
from bhushgpt.forecast import step_operations
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig
from bhushgpt.runs.fine_tuning import Origin
from bhushgpt.runs.folder import RunFolder, RunOptions
from bhushgpt.runs.interruption import Interruption
from bhushgpt.runs.monitoring import (
    Board,
    Glances,
    RunLog,
    machine_limit,
    usual_interval,
)
from bhushgpt.runs.training_text import Text
from bhushgpt.speed import (
    AcceleratedLoss,
    Acceleration,
    Precision,
    World,
    autocast,
    is_sharded,
    train_scaled,
)
from bhushgpt.storage import save_checkpoint, save_distributed, set_aside_after
from bhushgpt.tokenizers import Tokenizer
from bhushgpt.training import NonFinite, Report, StepBatches, TrainState, progress
from bhushgpt.training_config import TrainingConfig

BAR = "{desc} {percentage:3.0f}%|{bar:20}| {remaining} left"


class Saves:
    """Writes the checkpoints of a run; under torchrun all processes call it together.

    Args:
        run: Where they go.
        config: The run's settings.
        tokenizer: Saved with the weights.
        world: Who takes part; the main process writes the record.
        keep: How many of the newest checkpoints stay.
    """

    def __init__(
        self, run: RunFolder, config: RunConfig, tokenizer: Tokenizer, world: World, keep: int
    ) -> None:
        self.run = run
        self.config = config
        self.tokenizer = tokenizer
        self.world = world
        self.keep = keep
        self._saved_step = -1
        self.start()

    def start(self) -> None:
        """Start the clock: what went before was no training."""
        self._begin = time.perf_counter()

    def save(self, state: TrainState, best: tuple[float, int] | None = None) -> None:
        """Write a checkpoint and the facts about training so far, unless that is done already.

        Args:
            state: What is saved.
            best: (nats, step) of the glance, if this is the best checkpoint so far.

        Raises:
            UserError: If it cannot be written; a `NoRoom` if the disk is full.
        """
        if self._saved_step == state.step:
            return
        with _warnings_said():
            self._write(state, best is not None)
        self._saved_step = state.step
        if self.world.is_main:
            self._note_progress(state.step, best)

    def _write(self, state: TrainState, best: bool) -> None:
        parts = (self.run.path, state, self.config, self.tokenizer)
        if self.world.size > 1:
            save_distributed(*parts, self.world, keep=self.keep, best=best)
        else:
            save_checkpoint(*parts, keep=self.keep, best=best)

    def save_if_there_is_room(
        self, state: TrainState, best: tuple[float, int] | None = None
    ) -> None:
        """Do the same, but let a full disk pass with a notice: there will be other checkpoints."""
        try:
            self.save(state, best)
        except NoRoom as error:
            if self.world.size > 1:  # the others do not know of it
                raise
            tqdm.write(f"{error} Training goes on.", file=sys.stderr)

    def _note_progress(self, step: int, best: tuple[float, int] | None) -> None:
        now = time.perf_counter()
        seconds = self.run.record.get("seconds", 0.0) + now - self._begin
        self._begin = now
        tokens = self.config.training.batch_size * self.config.model.context_length
        facts = {} if best is None else {"best": {"step": best[1], "held_out": best[0]}}
        self.run.update(
            steps_done=step, seconds=seconds, tokens_per_second=step * tokens / seconds, **facts
        )


@contextmanager
def _warnings_said() -> Iterator[None]:
    """Say in a sentence what is only a warning, such as an old checkpoint that does not go."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        tqdm.write(str(warning.message), file=sys.stderr)


@dataclass
class Session:
    """A run that can be trained: fresh, or where it stopped.

    Under torchrun every process has one of it; the main one alone writes and prints.
    """

    run: RunFolder
    config: RunConfig
    text: Text
    state: TrainState
    world: World
    options: RunOptions = field(default_factory=RunOptions)
    loss: AcceleratedLoss = field(default_factory=lambda: AcceleratedLoss(Acceleration()))
    notices: list[str] = field(default_factory=list)
    """What people should know before it starts."""
    origin: Origin | None = None
    """Of a run that fine-tunes the model of another one."""

    def __post_init__(self) -> None:
        keep, tokenizer = self.options.keep, self.text.tokenizer
        self._saves = Saves(self.run, self.config, tokenizer, self.world, keep)

    @property
    def model(self) -> LanguageModel:
        """The model being trained."""
        assert isinstance(self.state.model, LanguageModel)
        return self.state.model

    @property
    def batches(self) -> StepBatches:
        """The training examples of this process."""
        training, sizes = self.config.training, self.config.model
        batches = Batches(
            self.text.train,
            training.batch_size,
            sizes.context_length,
            seed=training.seed,
            device=self.world.device,
            vocab_size=sizes.vocab_size,
            skip=self.run.record.get("skipped_batches", []),
        )
        return self.world.batches(self.origin.batches(batches) if self.origin else batches)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.state.step >= self.config.training.steps

    def train(self, interruption: Interruption) -> bool:
        """Train to the end with a progress bar, saving now and then and last, whatever happens.

        Args:
            interruption: Entered already. After a first signal the step in progress is finished
                and saved; a second Ctrl-C stops at once.

        Returns:
            Whether the end was reached.

        Raises:
            UserError: If training or saving cannot go on; what was saved before is whole.
        """
        steps = self.config.training.steps
        save_every = self.options.save_every or usual_interval(steps)
        with interruption.deferred(), self._log() as (log, history):
            parts = (self.model, self.text, log, steps, self.options, self.world)
            glances = Glances(*parts, history)
            training = self.config.training
            reports = train_scaled(self.state, self.batches, training, self.loss, self.loss.scaler)
            log.start()  # reading the history of a run that goes on is no part of its next step
            try:
                with closing(self._shown(self.world.reports(reports))) as shown:
                    for report in shown:
                        line = log.line(report)
                        best = self.world.agree(glances.look(line, interruption))
                        log.write(line)
                        if best or report.step % save_every == 0:
                            best_so_far = glances.best if best else None
                            self._saves.save_if_there_is_room(self.state, best_so_far)
                        log.start()
                        if self.world.agree(interruption.requested):
                            break
            except NonFinite as error:  # the weights are still those from before the step
                self.save()
                training = self.config.training
                cause = first_cause(self.state, self.batches, training, self.loss, self.world)
                raise NonFinite(f"{error} {cause}", error.step) from None
            self.save()
        return self.finished

    def save(self) -> None:
        """Write a checkpoint of the step that is done, unless there is one already."""
        self._saves.save(self.state)

    @contextmanager
    def _log(self) -> Iterator[tuple[RunLog, list[dict[str, Any]]]]:
        """Lock the run, forget what is after its checkpoint; yield the log, and what is in it."""
        limit = machine_limit(self.world.device.type, self.options.precision)
        limit = limit * self.world.size if limit else None
        with ExitStack() as stack:
            board, history = None, []
            if self.world.is_main:
                stack.enter_context(one_writer(self.run.path))
                history = self.run.rewind(self.state.step)
                for notice in set_aside_after(self.run.path, self.state.step):
                    tqdm.write(notice, file=sys.stderr)
                self.run.update(matmul_limit=limit)
                if self.options.tensorboard:
                    board = Board(self.run.path, self.state.step)
            self.world.barrier()
            if not self.world.is_main:
                history = self.run.history()
            where = self.world.device
            how = self.loss.acceleration
            stack.enter_context(memory_explained(self.config, where, how))
            stack.enter_context(threads_for(step_operations(self.config)))
            # A third of a step's operations makes gradients of weights, of those trained alone.
            weights = (2 * self.model.parameter_count() + self.model.trained_count()) // 3
            log = RunLog(self.run, weights, limit, board, writes=self.world.is_main)
            self._saves.start()
            with closing(log):
                yield log, history

    def _shown(self, reports: Iterable[Report]) -> Generator[Report, None, None]:
        """Pass the reports on with a progress bar, and say where the loss jumps."""
        if not self.world.is_main:
            yield from reports
            return
        detector = SpikeDetector()
        for report in progress(reports, self.config.training.steps, start=self.state.step):
            if spike := detector.look(report.step, report.loss):
                tqdm.write(f"Spike at {spike}", file=sys.stderr)
            yield report

    def evaluate(self, tokens: np.ndarray | None = None) -> Evaluation:
        """Return the loss over what is judged of the held-out text, computed as in training.

        It shows a bar while it takes longer than a moment.

        Args:
            tokens: A part of it, instead of the whole.
        """
        whole = tokens is None
        precision = "float32" if self.options.precision == "auto" else self.options.precision
        bar = partial(tqdm, desc="held-out text", bar_format=BAR, leave=False, delay=1)
        with autocast(self.world.device, cast(Precision, precision)):
            return evaluate(
                self.model,
                self.text.held_out if tokens is None else tokens,
                batch_size=windows_at_once(
                    self.model.context_length, self.text.tokenizer.vocab_size
                ),
                text_bytes=self.text.held_out_bytes if whole else None,
                watch=bar,
            )

    def record(
        self,
        result: Evaluation,
        rungs: Mapping[str, float],
        best_order: int,
        history: Iterable[Mapping[str, Any]],
    ) -> None:
        """Write what came of the run to its record."""
        self.run.update(
            held_out=facts(result),
            glances=[[line["step"], line["held_out"]] for line in history if "held_out" in line],
            ladder=dict(rungs),
            n_gram_order=best_order,
        )


def first_cause(
    state: TrainState,
    batches: StepBatches,
    training: TrainingConfig,
    loss: AcceleratedLoss,
    world: World,
) -> str:
    """Return the sentence of the first process that finds where a number went wrong.

    All processes call it together, with what each gave to `train`.
    """
    # Sharded, a process that finds it and leaves the way back would leave the others waiting.
    backward = not is_sharded(state.model)
    cause = explain_non_finite(state, batches, training, loss.alone, backward=backward)
    found = world.gather(cause)
    return next((text for text in found if "not finite" in text), found[0])


def facts(result: Evaluation) -> dict[str, float | int | None]:
    """Return what `evaluate --json` prints and the record holds."""
    return {
        "nats_per_token": result.nats_per_token,
        "perplexity": result.perplexity,
        "bits_per_byte": result.bits_per_byte,
        "tokens": result.tokens,
    }
