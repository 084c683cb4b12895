"""A run that trains: text, settings, model, checkpoints and record, held together.

Lesson: notebook 16.
"""

import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

from bhushgpt.batches import Batches
from bhushgpt.checkpoint_folders import set_aside_after
from bhushgpt.distributed import World
from bhushgpt.evaluation import Evaluation, evaluate
from bhushgpt.full_memory import memory_explained
from bhushgpt.glances import Glances, usual_interval, windows_at_once
from bhushgpt.interruption import Interruption
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig
from bhushgpt.progress import progress
from bhushgpt.run_locks import lock_run
from bhushgpt.run_log import RunLog, machine_limit
from bhushgpt.run_options import RunOptions
from bhushgpt.runs import RunFolder
from bhushgpt.saves import Saves
from bhushgpt.skipped_batches import SkippedBatches
from bhushgpt.spikes import SpikeDetector
from bhushgpt.step_reports import NonFinite
from bhushgpt.tensorboards import Board
from bhushgpt.texts import Text
from bhushgpt.training import LossFunction, Report, StepBatches, TrainState, batch_loss, train


@dataclass
class Session:
    """A run that can be trained: fresh, or where it stopped.

    Under torchrun every process has one of it; the main one alone writes and prints.

    Lesson: notebook 16.
    """

    run: RunFolder
    config: RunConfig
    text: Text
    state: TrainState
    world: World
    options: RunOptions = field(default_factory=RunOptions)
    loss: LossFunction = batch_loss
    notices: list[str] = field(default_factory=list)
    """What people should know before it starts."""

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
        )
        skipped = self.run.record.get("skipped_batches", [])
        return self.world.batches(SkippedBatches(batches, skipped) if skipped else batches)

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
        with interruption.deferred(), self._log() as log:
            glances = Glances(self.model, self.text, log, steps, self.options, self.world)
            reports = train(self.state, self.batches, self.config.training, self.loss)
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
            except NonFinite:  # the weights are still those from before the step
                self.save()
                raise
            self.save()
        return self.finished

    def save(self) -> None:
        """Write a checkpoint of the step that is done, unless there is one already."""
        self._saves.save(self.state)

    @contextmanager
    def _log(self) -> Iterator[RunLog]:
        """Lock the run, forget what is after its checkpoint, and yield what it is logged with."""
        limit = machine_limit(self.world.device.type, self.options.precision)
        limit = limit * self.world.size if limit else None
        with ExitStack() as stack:
            board = None
            if self.world.is_main:
                stack.enter_context(lock_run(self.run.path))
                self.run.rewind(self.state.step)
                for notice in set_aside_after(self.run.path, self.state.step):
                    tqdm.write(notice, file=sys.stderr)
                self.run.update(matmul_limit=limit)
                if self.options.tensorboard:
                    board = Board(self.run.path, self.state.step)
            self.world.barrier()
            where = self.world.device
            stack.enter_context(memory_explained(self.config, where))
            log = RunLog(
                self.run, self.model.parameter_count(), limit, board, writes=self.world.is_main
            )
            self._saves.start()
            with closing(log):
                yield log

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

    def evaluate(self) -> Evaluation:
        """Return the loss over the held-out text."""
        return evaluate(
            self.model,
            self.text.held_out,
            batch_size=windows_at_once(self.text, self.model),
            text_bytes=self.text.held_out_bytes,
        )

    def record(self, result: Evaluation, rungs: Mapping[str, float], best_order: int) -> None:
        """Write what came of the run to its record."""
        history = self.run.history()
        self.run.update(
            held_out=facts(result),
            glances=[[line["step"], line["held_out"]] for line in history if "held_out" in line],
            ladder=dict(rungs),
            n_gram_order=best_order,
        )


def facts(result: Evaluation) -> dict[str, float | int | None]:
    """Return what `evaluate --json` prints and the record holds.

    Lesson: notebook 16.
    """
    return {
        "nats_per_token": result.nats_per_token,
        "perplexity": result.perplexity,
        "bits_per_byte": result.bits_per_byte,
        "tokens": result.tokens,
    }
