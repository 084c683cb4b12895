"""From names to a trained model: text, settings, training, checkpoint and record in one folder.

Letters: N number of tokens.

Lesson: notebook 16.
"""

import dataclasses
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bhushgpt.batches import Batches, split_tokens
from bhushgpt.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.corpus import Corpus, load_text
from bhushgpt.devices import machine_card
from bhushgpt.errors import UserError
from bhushgpt.evaluation import Evaluation, evaluate
from bhushgpt.interruption import Interruption
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.progress import progress
from bhushgpt.runs import RunFolder
from bhushgpt.tokenizers import CharTokenizer, Tokenizer
from bhushgpt.training import Report, TrainState, train

# A glance at the held-out text while training: enough to see the trend, cheap enough to repeat.
GLANCE_TOKENS = 8192
GLANCES = 10


@dataclass(frozen=True)
class Text:
    """A corpus as tokens, cut in two."""

    corpus: Corpus
    tokenizer: Tokenizer
    train: np.ndarray
    held_out: np.ndarray

    @property
    def held_out_bytes(self) -> int:
        """UTF-8 bytes of the held-out text that a model predicts: all but its first token."""
        return len(self.tokenizer.decode(self.held_out[1:]).encode())


def tokenize(corpus: Corpus, tokenizer: Tokenizer, held_out: float, context_length: int) -> Text:
    """Encode a corpus and cut off its held-out part.

    Raises:
        UserError: If the text is too short for the context, or has characters that the tokenizer
            does not know.
    """
    ids = tokenizer.encode(corpus.text)
    # The smallest type that holds every id: a long text need not fill the memory.
    tokens = np.array(ids, dtype=np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    train_tokens, held_out_tokens = split_tokens(tokens, held_out, context_length=context_length)
    return Text(corpus, tokenizer, train_tokens, held_out_tokens)


@dataclass
class Session:
    """A run that can be trained: fresh, or where it stopped."""

    run: RunFolder
    config: RunConfig
    text: Text
    state: TrainState
    device: torch.device

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
        """Train to the end with a progress bar, save, and return whether the end was reached.

        After the first Ctrl-C the step in progress is finished and saved; False is returned.
        """
        steps = self.config.training.steps
        with Interruption() as interruption, closing(self._reports()) as reports:
            for _ in progress(reports, steps, start=self.state.step):
                if interruption.requested:
                    break
        save_checkpoint(self.run.path, self.state, self.config, self.text.tokenizer)
        self.run.update(steps_done=self.state.step)
        return self.finished

    def _reports(self) -> Generator[Report, None, None]:
        """Yield the reports of training, logging each and glancing at the held-out text."""
        config = self.config.training
        every = max(25, config.steps // GLANCES)
        for report in train(self.state, self.batches, config):
            glance = None
            if report.step % every == 0:
                glance = evaluate(self.model, self.text.held_out[:GLANCE_TOKENS]).nats_per_token
            self.run.log(report, glance)
            yield report

    def evaluate(self) -> Evaluation:
        """Return the loss over the whole held-out text and write it to the record."""
        result = evaluate(self.model, self.text.held_out, text_bytes=self.text.held_out_bytes)
        self.run.update(held_out=dataclasses.asdict(result))
        return result


def start_session(
    preset_name: str,
    corpus_name: str,
    device: torch.device,
    out: Path,
    *,
    steps: int | None = None,
) -> Session:
    """Return a fresh run in the folder `out`.

    Args:
        preset_name: See `presets`.
        corpus_name: A registered corpus or a text file.
        device: Where to train.
        out: The run's folder; it must not hold a run.
        steps: Instead of the preset's.

    Raises:
        UserError: For anything that cannot be used; nothing is written then.
    """
    preset(preset_name, vocab_size=2, steps=steps)  # a wrong name or number shows before the work
    corpus = load_text(corpus_name)
    if not corpus.text:
        raise UserError(
            f"{corpus_name} is empty. A model learns from a text of some thousand words."
        )
    tokenizer = CharTokenizer.from_text(corpus.text)
    config = preset(preset_name, tokenizer.vocab_size, steps=steps)
    text = tokenize(corpus, tokenizer, config.held_out, config.model.context_length)
    state = TrainState.fresh(build_model(config, device), config.training)
    registered = not Path(corpus_name).expanduser().is_file()
    record = {
        "preset": config.preset,
        # A file is found again from any folder by its whole path.
        "corpus": corpus_name if registered else str(Path(corpus_name).expanduser().resolve()),
        "corpus_sha256": corpus.sha256,
        "characters": len(corpus.text),
        "machine": machine_card(),
        "device": device.type,
    }
    return Session(RunFolder.create(out, record), config, text, state, device)


def open_session(folder: Path, device: torch.device) -> Session:
    """Return an earlier run at its newest checkpoint, with the text it was trained on.

    Raises:
        UserError: If there is no run or no checkpoint, or the text is no longer the same.
    """
    run = RunFolder.open(folder)
    checkpoint = load_checkpoint(folder, device)
    corpus = load_text(run.record.get("corpus", ""))
    if corpus.sha256 != run.record.get("corpus_sha256"):
        raise UserError(
            f"The text {run.record.get('corpus')!r} has changed since {folder} was trained on it, "
            "so its held-out part is another. Put the old text back, or train a new run."
        )
    config = checkpoint.config
    text = tokenize(corpus, checkpoint.tokenizer, config.held_out, config.model.context_length)
    return Session(run, config, text, checkpoint.state, device)
