"""A run that trains: text, settings, model, checkpoints and record, held together.

Lesson: notebook 16.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import torch

from bhushgpt.batches import Batches
from bhushgpt.checkpoints import save_checkpoint
from bhushgpt.errors import UserError
from bhushgpt.evaluation import Evaluation, evaluate
from bhushgpt.interruption import Interruption
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig
from bhushgpt.progress import progress
from bhushgpt.runs import RunFolder
from bhushgpt.texts import Text
from bhushgpt.training import Report, TrainState, train

# While training, the run is saved and a part of the held-out text looked at about this often:
# enough to see the trend and to lose little, cheap enough to repeat.
GLANCES = 10
GLANCE_TOKENS = 8192


@dataclass
class Session:
    """A run that can be trained: fresh, or where it stopped.

    Lesson: notebook 16.
    """

    run: RunFolder
    config: RunConfig
    text: Text
    state: TrainState
    device: torch.device
    _begin: float = field(default_factory=time.perf_counter, init=False)

    @property
    def model(self) -> LanguageModel:
        """The model being trained."""
        assert isinstance(self.state.model, LanguageModel)
        return self.state.model

    @property
    def batches(self) -> Batches:
        """The training examples of this run."""
        training = self.config.training
        return Batches(
            self.text.train,
            training.batch_size,
            self.config.model.context_length,
            seed=training.seed,
            device=self.device,
        )

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.state.step >= self.config.training.steps

    def train(self) -> bool:
        """Train to the end with a progress bar, saving now and then and last, whatever happens.

        Returns:
            Whether the end was reached: after the first Ctrl-C the step in progress is finished
            and saved, and False is returned.

        Raises:
            UserError: If training or saving cannot go on; the steps before are saved.
        """
        steps = self.config.training.steps
        self.run.rewind(self.state.step)
        with Interruption() as interruption:
            self._begin = time.perf_counter()
            try:
                with closing(self._reports()) as reports:
                    for report in progress(reports, steps, start=self.state.step):
                        if interruption.requested:
                            break
                        if report.step % self._every == 0 and report.step < steps:
                            self.save()
            except UserError:  # such as a loss that is no number: the weights are still whole
                self.save()
                raise
            self.save()
        return self.finished

    def save(self) -> None:
        """Write a checkpoint and the facts about training so far."""
        save_checkpoint(self.run.path, self.state, self.config, self.text.tokenizer)
        now = time.perf_counter()
        seconds = self.run.record.get("seconds", 0.0) + now - self._begin
        self._begin = now
        tokens = self.config.training.batch_size * self.config.model.context_length
        self.run.update(
            steps_done=self.state.step,
            seconds=seconds,
            tokens_per_second=self.state.step * tokens / seconds,
        )

    @property
    def _every(self) -> int:
        return max(25, self.config.training.steps // GLANCES)

    def _reports(self) -> Generator[Report, None, None]:
        """Yield the reports of training, logging each and glancing at the held-out text."""
        for report in train(self.state, self.batches, self.config.training):
            glance = None
            if report.step % self._every == 0:
                glance = evaluate(self.model, self.text.held_out[:GLANCE_TOKENS]).nats_per_token
            self.run.log(report, glance)
            yield report

    def evaluate(self) -> Evaluation:
        """Return the loss over the whole held-out text."""
        return evaluate(self.model, self.text.held_out, text_bytes=self.text.held_out_bytes)

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
